"""The feature file: one row an image with its ids and its feature; the project's own and other people's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files import atomic_file

NO_ID = -1
ROLE_COLUMNS = ("role", "split")

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class FeatureSet:
    """Features of some images and what a protocol needs to know of each.

    Attributes:
        features: float32 (N, D), L2-normalised.
        image_id: Names, (N,).
        role: ``query``, ``gallery``, ``train`` or a data set's finer name, (N,).
        person_id: (N,).
        camera_id: (N,), ``NO_ID`` where there is none.
        clothes_id: (N,), ``NO_ID`` where there is none.
        tracklet_id: (N,), ``NO_ID`` where there is none.
    """

    features: NDArray[np.float32]
    image_id: NDArray[np.str_]
    role: NDArray[np.str_]
    person_id: Integers
    camera_id: Integers
    clothes_id: Integers
    tracklet_id: Integers

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: Integers | NDArray[np.bool_]) -> "FeatureSet":
        """Some rows, in the given order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    def with_role(self, *roles: str) -> "FeatureSet":
        """The rows that have one of the roles."""
        return self.take(np.isin(self.role, roles))


def concatenate(sets: list[FeatureSet]) -> FeatureSet:
    """Rows of several sets, one after another.

    Raises:
        InputError: Their dimensions differ.
    """
    dimensions = {item.features.shape[1] for item in sets}
    if len(dimensions) > 1:
        raise InputError(f"the feature files have different dimensions: {', '.join(map(str, sorted(dimensions)))}")
    columns = {name: np.concatenate([getattr(item, name) for item in sets]) for name in FeatureSet.__dataclass_fields__}
    return FeatureSet(**columns)


def write_features(path: Path, table: pa.Table, metadata: Mapping[str, str]) -> None:
    """Write a feature table as Parquet with ``metadata`` in its schema, atomically.

    Args:
        path: The file.
        table: Columns image_id, role, person_id, camera_id, clothes_id, tracklet_id, feature (fixed-size list).
        metadata: What made the features, such as ``checkpoint_sha256``.
    """
    with atomic_file(path) as temporary:
        pq.write_table(table.replace_schema_metadata(dict(metadata)), temporary, row_group_size=4096)


def normalise_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each row by its length, computed in float64; rows of zeros stay zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    normalised: NDArray[np.float32] = features / np.maximum(lengths, 1e-12)[:, None].astype(np.float32)
    return normalised


def _feature_matrix(column: pa.ChunkedArray, path: Path) -> NDArray[np.float32]:
    kind = column.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise InputError(f"{path}: column feature must be a list of numbers, not {kind}")
    if column.null_count:
        raise InputError(f"{path}: column feature has {column.null_count} nulls")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1:
        raise InputError(f"{path}: features of mixed dimensions: {', '.join(map(str, sorted(lengths)))}")
    values = pc.list_flatten(column).combine_chunks()
    try:
        flat = values.cast(pa.float32()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: column feature has values that are no numbers: {error}") from error
    matrix: NDArray[np.float32] = flat.reshape(len(column), lengths[0])
    bad = ~np.isfinite(matrix).all(axis=1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(f"{path}: {int(bad.sum())} features have NaN or infinite values; the first is row {first}")
    return matrix


def _integers(table: pa.Table, name: str, path: Path, required: bool) -> Integers:
    if name not in table.column_names:
        if required:
            raise InputError(f"{path} lacks the column {name}; it has: {', '.join(table.column_names)}")
        return np.full(table.num_rows, NO_ID, dtype=np.int64)
    try:
        column = table[name].cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: column {name} must hold whole numbers: {error}") from error
    if required and column.null_count:
        raise InputError(f"{path}: column {name} has {column.null_count} nulls")
    filled: Integers = column.fill_null(NO_ID).to_numpy()
    return filled


def _roles(table: pa.Table, path: Path, role: str | None) -> NDArray[np.str_]:
    if role is not None:
        return np.full(table.num_rows, role)
    name = next((name for name in ROLE_COLUMNS if name in table.column_names), None)
    if name is None:
        raise InputError(f"{path} lacks a column role (or split) that says query or gallery")
    return np.asarray(table[name].to_pylist(), dtype=np.str_)


def read_features(path: Path, role: str | None = None) -> tuple[FeatureSet, dict[str, str]]:
    """Read a feature file.

    Args:
        path: Parquet with the columns of :func:`write_features`; ``split`` is taken where there is no ``role``, and all
            ids but person_id may be absent or null.
        role: Gives every row this role, whatever the file says (for separate query and gallery files).

    Returns:
        The features, L2-normalised, and the file's own metadata.

    Raises:
        InputError: The file is missing or no Parquet, columns are missing or of the wrong type, dimensions are mixed,
            or values are not finite.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"feature file not found: {path}; ccaf-pipeline extract writes one") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"feature file {path} cannot be read as Parquet: {error}") from error
    if "feature" not in table.column_names:
        raise InputError(f"{path} lacks the column feature; it has: {', '.join(table.column_names)}")
    if table.num_rows == 0:
        raise InputError(f"feature file {path} has no row")
    names = table["image_id"].to_pylist() if "image_id" in table.column_names else None
    features = FeatureSet(
        features=normalise_rows(_feature_matrix(table["feature"], path)),
        image_id=np.asarray(names if names is not None else [""] * table.num_rows, dtype=np.str_),
        role=_roles(table, path, role),
        person_id=_integers(table, "person_id", path, required=True),
        camera_id=_integers(table, "camera_id", path, required=False),
        clothes_id=_integers(table, "clothes_id", path, required=False),
        tracklet_id=_integers(table, "tracklet_id", path, required=False),
    )
    return features, {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
