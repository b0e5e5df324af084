"""The feature file: one row an image with its ids and its feature; the project's own and other people's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.features.formats import FeatureColumns, open_columns
from pipeline.files import atomic_file

NO_ID = -1
ROLE_COLUMNS = ("role", "split")
CHECKPOINT_KEY = "checkpoint_sha256"
ROW_GROUP_ROWS = 4096

ID_FIELDS = (
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("role", pa.string(), nullable=False),
    pa.field("person_id", pa.int64(), nullable=False),
    pa.field("camera_id", pa.int32()),
    pa.field("clothes_id", pa.int64()),
    pa.field("tracklet_id", pa.int64()),
)
"""Columns of a feature file beside ``feature``, which is a fixed-size list of float32."""

PATH_FIELD = pa.field("path", pa.string())
"""Where an image that was in no shards lies; relative to the folder that the metadata name by :data:`IMAGES_KEY`."""
IMAGES_KEY = "images"

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureSet:
    """Features of some images and what a protocol needs to know of each.

    Attributes:
        features: float32 (N, D), L2-normalised; as :meth:`normalised` and :func:`read_features` give them, the length
            of each is computed in float64.
        image_id: Names, (N,); empty where the file has none.
        role: ``query``, ``gallery``, ``train`` or a data set's finer name, (N,).
        person_id: (N,).
        camera_id: (N,), ``NO_ID`` where there is none.
        clothes_id: (N,), ``NO_ID`` where there is none.
        tracklet_id: (N,), ``NO_ID`` where there is none.
    """

    features: Floats
    image_id: NDArray[np.str_]
    role: NDArray[np.str_]
    person_id: Integers
    camera_id: Integers
    clothes_id: Integers
    tracklet_id: Integers

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: Integers | NDArray[np.bool_]) -> "FeatureSet":
        """Some rows, in the given order; rows that follow each other are a view, so that nothing large is copied."""
        positions: Integers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        consecutive = len(positions) > 0 and bool((np.diff(positions) == 1).all())
        chosen = slice(int(positions[0]), int(positions[-1]) + 1) if consecutive else positions
        return replace(self, **{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def normalised(self) -> "FeatureSet":
        """The same features as :func:`read_features` gives them once they were written: what is scored and shown."""
        return replace(self, features=normalise_rows(self.features))

    def with_role(self, *roles: str) -> "FeatureSet":
        """The rows that have one of the roles."""
        return self.take(np.isin(self.role, roles))


def concatenate(sets: Sequence[FeatureSet]) -> FeatureSet:
    """Rows of several sets, one after another.

    Raises:
        InputError: Their dimensions differ.
    """
    dimensions = {item.features.shape[1] for item in sets}
    if len(dimensions) > 1:
        raise InputError(f"the feature files have different dimensions: {', '.join(map(str, sorted(dimensions)))}")
    return FeatureSet(
        **{field.name: np.concatenate([getattr(item, field.name) for item in sets]) for field in fields(FeatureSet)}
    )


def feature_table(items: FeatureSet) -> pa.Table:
    """The columns of a feature file; ids that a data set lacks are null."""

    def nullable(values: Integers, kind: pa.DataType) -> pa.Array:
        return pa.array(values, type=kind, mask=values == NO_ID)

    flat = pa.array(items.features.ravel(), type=pa.float32())
    return pa.table(
        {
            "image_id": pa.array(items.image_id.tolist(), type=pa.string()),
            "role": pa.array(items.role.tolist(), type=pa.string()),
            "person_id": pa.array(items.person_id, type=pa.int64()),
            "camera_id": nullable(items.camera_id, pa.int32()),
            "clothes_id": nullable(items.clothes_id, pa.int64()),
            "tracklet_id": nullable(items.tracklet_id, pa.int64()),
            "feature": pa.FixedSizeListArray.from_arrays(flat, items.features.shape[1]),
        }
    )


def write_features(path: Path, table: pa.Table, metadata: Mapping[str, str]) -> None:
    """Write a feature table as Parquet with ``metadata`` in its schema, atomically.

    Args:
        path: The file.
        table: The columns of :data:`ID_FIELDS` and ``feature`` (fixed-size list of float32); perhaps ``path`` as well.
        metadata: What made the features, such as ``checkpoint_sha256``.

    Raises:
        ValueError: A column is missing or cannot have its type.
    """
    write_feature_parts(path, [table], metadata)


def write_feature_parts(path: Path, tables: Iterable[pa.Table], metadata: Mapping[str, str]) -> None:
    """As :func:`write_features`, of tables that follow each other; there must be one."""
    parts = iter(tables)
    table = next(parts)
    feature = table.schema.field("feature") if "feature" in table.column_names else None
    missing = [field.name for field in ID_FIELDS if field.name not in table.column_names]
    if missing or feature is None or not pa.types.is_fixed_size_list(feature.type):
        raise ValueError(f"a feature table needs {', '.join(missing) or 'feature as a fixed-size list'}")
    kind = pa.list_(pa.float32(), feature.type.list_size)
    more = [PATH_FIELD] if PATH_FIELD.name in table.column_names else []
    schema = pa.schema([*ID_FIELDS, *more, pa.field("feature", kind, nullable=False)], metadata=dict(metadata))
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for part in chain([table], parts):
            writer.write_table(part.select(schema.names).cast(schema), row_group_size=ROW_GROUP_ROWS)


def normalise_rows(features: Floats) -> Floats:
    """Divide each row by its length, which is computed in float64; rows of zeros stay zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    normalised: Floats = features / np.maximum(lengths, 1e-30).astype(np.float32)[:, None]
    return normalised


def checked_rows(column: pa.Array, path: Path, first_row: int) -> Floats:
    """Some rows of the column feature as float32 (n, D), not yet normalised; ``first_row`` is named in errors.

    Raises:
        InputError: They are no numbers, of mixed dimensions, not finite, or all zeros.
    """
    return check_values(list_rows(column, path), path, first_row)


def list_rows(column: pa.Array, path: Path) -> Floats:
    """As :func:`checked_rows`, but any numbers will do.

    Raises:
        InputError: They are no numbers, or of mixed dimensions.
    """
    kind = column.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise InputError(f"{path}: column feature must be a list of numbers, not {kind}")
    if column.null_count:
        raise InputError(f"{path}: column feature has {column.null_count} nulls")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1:
        raise InputError(f"{path}: features of mixed dimensions: {', '.join(map(str, sorted(lengths)))}")
    if lengths[0] == 0:
        raise InputError(f"{path}: the features are empty lists")
    try:
        flat = pc.list_flatten(column).cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}: column feature has values that are no numbers: {error}") from error
    rows: Floats = flat.reshape(len(column), lengths[0])
    return rows


def check_values(rows: Floats, path: Path, first_row: int) -> Floats:
    """The same rows.

    Raises:
        InputError: One is not finite, or all zeros.
    """
    for wrong, what in (
        (~np.isfinite(rows).all(axis=1), "have NaN or infinite values"),
        (~rows.any(axis=1), "are all zeros and have no direction"),
    ):
        if wrong.any():
            first = first_row + int(np.flatnonzero(wrong)[0])
            raise InputError(f"{path}: features {what}; the first is row {first}")
    return rows


def _matrix(columns: FeatureColumns, path: Path) -> Floats:
    """The column feature, L2-normalised; read in batches, so that there is one copy of it in memory."""
    matrix: Floats | None = None
    row = 0
    for batch in columns.batches or ():
        rows = checked_rows(batch, path, row)
        if matrix is None:
            matrix = np.empty((columns.rows, rows.shape[1]), dtype=np.float32)
        if rows.shape[1] != matrix.shape[1]:
            both = sorted((rows.shape[1], matrix.shape[1]))
            raise InputError(f"{path}: features of mixed dimensions: {both[0]}, {both[1]}")
        matrix[row : row + len(rows)] = normalise_rows(rows)
        row += len(rows)
    if matrix is None:
        raise InputError(f"feature file {path} has no row")
    return matrix


def read_vectors(path: Path) -> Floats:
    """The features of a file alone, of any form that :func:`read_features` reads, with labels or without.

    Returns:
        L2-normalised, float32 (N, D).

    Raises:
        InputError: The file is missing or of no form that is known, or has no features that can be compared.
    """
    with open_columns(path, []) as columns:
        if columns.batches is None:
            raise InputError(f"{path} lacks the column feature; it has: {', '.join(columns.names)}")
        return _matrix(columns, path)


def _integers(table: pa.Table, name: str, path: Path, required: bool = False) -> Integers:
    if name not in table.column_names:
        if required:
            raise InputError(f"{path} lacks the column {name}; it has: {', '.join(table.column_names)}")
        return np.full(table.num_rows, NO_ID, dtype=np.int64)
    try:
        column = table[name].cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}: column {name} must hold whole numbers: {error}") from error
    if required and column.null_count:
        raise InputError(f"{path}: column {name} has {column.null_count} nulls")
    filled: Integers = column.fill_null(NO_ID).to_numpy()
    return filled


def _texts(table: pa.Table, name: str, path: Path) -> NDArray[np.str_]:
    column = table[name]
    if column.null_count:
        raise InputError(f"{path}: column {name} has {column.null_count} nulls")
    return np.asarray([str(value) for value in column.to_pylist()], dtype=np.str_)


def _roles(table: pa.Table, path: Path, side: str | None, keep: Sequence[str]) -> NDArray[np.str_]:
    name = next((name for name in ROLE_COLUMNS if name in table.column_names), None)
    if side is None:
        if name is None:
            raise InputError(f"{path} lacks a column role (or split) that says query or gallery")
        return _texts(table, name, path)
    if name is None:
        return np.full(table.num_rows, side)
    roles = _texts(table, name, path)
    return np.where(np.isin(roles, keep), roles, side)


def read_features(path: Path, side: str | None = None, keep: Sequence[str] = ()) -> tuple[FeatureSet, dict[str, str]]:
    """Read features of this program or of another.

    Args:
        path: Parquet with the columns of :func:`write_features`; ``split`` is taken where there is no ``role``, the
            feature may be any list of numbers, and all ids but person_id may be absent or null (-1 counts as null).
            Or a form of :mod:`pipeline.features.formats`.
        side: For a file that holds one side only: its rows get this role, whatever the file says.
        keep: With ``side``: finer roles that stay as they are.

    Returns:
        The features, L2-normalised, and the file's own metadata.

    Raises:
        InputError: The file is missing or of no form that is known, columns are missing or of the wrong type,
            dimensions are mixed, or values are not finite.
    """
    known = [*ROLE_COLUMNS, *(field.name for field in ID_FIELDS if field.name != "role")]
    with open_columns(path, known) as columns:
        if columns.batches is None:
            raise InputError(f"{path} lacks the column feature; it has: {', '.join(columns.names)}")
        table = columns.ids
        features = FeatureSet(
            person_id=_integers(table, "person_id", path, required=True),
            camera_id=_integers(table, "camera_id", path),
            clothes_id=_integers(table, "clothes_id", path),
            tracklet_id=_integers(table, "tracklet_id", path),
            role=_roles(table, path, side, keep),
            image_id=_texts(table, "image_id", path) if "image_id" in table.column_names else np.full(columns.rows, ""),
            features=_matrix(columns, path),
        )
        metadata = columns.metadata
    return features, {key.decode(errors="replace"): value.decode(errors="replace") for key, value in metadata.items()}
