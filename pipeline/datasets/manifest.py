"""The manifest: one row an image, sorted by image_id; what every reader makes and every later step reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.files import atomic_file
from pipeline.location import Place
from pipeline.storage import local_copy

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),  # unique: split/relative/path
        pa.field("path", pa.string(), nullable=False),  # relative to the data set's folder, or absolute
        pa.field("split", pa.string(), nullable=False),  # train, val, query, gallery, or the data set's finer names
        pa.field("person_id", pa.int64(), nullable=False),
        pa.field("camera_id", pa.int32(), nullable=True),
        pa.field("clothes_id", pa.int64(), nullable=True),  # unique over the data set: a pair (person, outfit)
        pa.field("tracklet_id", pa.int64(), nullable=True),
    ]
)


@dataclass(frozen=True)
class ManifestRow:
    """One image of a data set, as a reader yields it."""

    path: str
    split: str
    person_id: int
    camera_id: int | None = None
    clothes_id: int | None = None
    tracklet_id: int | None = None

    @property
    def image_id(self) -> str:
        """``split/relative/path``; the same on every file system."""
        return f"{self.split}/{self.path}"


def build_manifest(rows: Sequence[ManifestRow]) -> pa.Table:
    """Make the table from a reader's rows, sorted by image_id.

    Raises:
        InputError: There is no row, or two rows have the same image_id.
    """
    columns = {
        name: pa.array([getattr(row, name) for row in rows], type=MANIFEST_SCHEMA.field(name).type)
        for name in MANIFEST_SCHEMA.names
    }
    return check_manifest(pa.table(columns, schema=MANIFEST_SCHEMA))


def check_manifest(table: pa.Table) -> pa.Table:
    """Sort by image_id and check what every manifest must hold.

    Raises:
        InputError: The table is empty, or image ids repeat.
    """
    if table.num_rows == 0:
        raise InputError("the data set has no image")
    ids = table["image_id"]
    if pc.all(pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py():
        return table.combine_chunks()  # as this program writes them: sorting would take the memory once more
    table = table.sort_by("image_id").combine_chunks()
    ids = table["image_id"]
    repeated = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    if pc.any(repeated).as_py():
        first = ids.slice(1).filter(repeated)[0].as_py()
        raise InputError(f"image_id {first} occurs more than once; every image needs a split and a path of its own")
    return table


def write_manifest(table: pa.Table, path: Path) -> None:
    """Write a manifest as Parquet, atomically."""
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


def read_manifest(path: Place) -> pa.Table:
    """Read and check a manifest, local or remote; its metadata (names of numbered labels) stay.

    Raises:
        InputError: The file is missing, is not Parquet, has other columns, or lacks a label that every row needs.
        StorageError: A remote file system does not answer.
    """
    try:
        with local_copy(path) as file:
            table = pq.read_table(file)
    except FileNotFoundError:
        raise InputError(f"manifest not found: {path}") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"manifest {path} cannot be read as Parquet: {error}") from error
    missing = [name for name in MANIFEST_SCHEMA.names if name not in table.column_names]
    if missing:
        raise InputError(f"manifest {path} lacks the columns {', '.join(missing)}")
    for field in MANIFEST_SCHEMA:
        if not field.nullable and table[field.name].null_count:
            raise InputError(f"manifest {path} has {table[field.name].null_count} rows without {field.name}")
    try:
        table = table.select(MANIFEST_SCHEMA.names).cast(MANIFEST_SCHEMA.with_metadata(table.schema.metadata))
    except (pa.ArrowInvalid, ValueError) as error:
        raise InputError(f"manifest {path} has a column of the wrong type: {error}") from error
    return check_manifest(table)
