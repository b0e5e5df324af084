"""The forms in which features lie on disk, read as columns: Parquet files and folders, arrays of other programs.

Nothing is unpickled: tensors of PyTorch are read with ``weights_only``, NumPy's files without objects, and columns of
Ray Data as the lists that they are stored as.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.features.array_files import ARRAY_READERS, PICKLES, Arrays, tables_beside

BATCH_ROWS: Final = 1024

FileStamp = tuple[str, int, int, int, int]
"""A file's path, device, inode, time of change in nanoseconds, and size in bytes."""


@dataclass(frozen=True)
class FeatureColumns:
    """What some features have, whatever form they lie in.

    Attributes:
        rows: Their number.
        names: Names of the columns.
        ids: The columns that were asked for, as far as they exist.
        batches: The column feature, some rows at a time: lists of numbers (n,). None if there is no such column.
        metadata: What the file says of itself.
    """

    rows: int
    names: Sequence[str]
    ids: pa.Table
    batches: Iterator[pa.Array] | None
    metadata: dict[bytes, bytes]


@contextmanager
def open_columns(path: Path, wanted: Sequence[str]) -> Iterator[FeatureColumns]:
    """Open features: a Parquet file, a folder of them, ``.npy`` beside a CSV, ``.npz``, ``.mat``, ``.pt`` or ``.pth``.

    Args:
        path: The file or folder.
        wanted: Names of the columns beside ``feature``.

    Raises:
        InputError: It is not there, cannot be read, or is a pickle.
    """
    kind = path.suffix.lower()
    if kind in PICKLES:
        raise InputError(
            f"{path} is a pickle, which may run any code when it is opened, so it is not: save the arrays by "
            f"numpy.savez (.npz) or torch.save (.pt), or write Parquet"
        )
    try:
        if kind in ARRAY_READERS and not path.is_dir():
            path.stat()  # some readers say of a missing file that it is damaged
            yield _columns_of_arrays(ARRAY_READERS[kind](path), wanted)
            return
        yield _columns_of_files(path, wanted)
    except FileNotFoundError:
        raise InputError(f"feature file not found: {path}; ccaf-pipeline extract writes one") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"feature file {path} cannot be read as Parquet: {error}") from error


def _files_of(folder: Path) -> list[Path]:
    """The Parquet files of a folder and its subfolders by name; those that begin with ``.`` or ``_`` are left out."""
    files = [
        path
        for path in sorted(folder.rglob("*.parquet"))
        if path.is_file() and not any(part[0] in "._" for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise InputError(f"the folder {folder} holds no features: there is no file that ends in .parquet")
    return files


def stamps_of(path: Path) -> tuple[FileStamp, ...]:
    """What tells whether features on disk are still the same: of every file that :func:`open_columns` may read.

    Raises:
        InputError: The folder holds no features.
        OSError: A file cannot be looked at.
    """
    files = _files_of(path) if path.is_dir() else [path, *tables_beside(path)]
    found = [(str(file), file.stat()) for file in files]
    return tuple((name, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def _partition(path: PurePath) -> dict[str, str]:
    """Values that stand in names of folders, such as ``role=query``, as Spark and Arrow write them."""
    pairs = (part.split("=", 1) for part in path.parent.parts if "=" in part)
    return {name: value for name, value in pairs if name}


def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, pre_buffer=False)  # the buffer would hold the whole file


def _columns_of_files(path: Path, wanted: Sequence[str]) -> FeatureColumns:
    """Of one file, or of the files of a folder, one after another; files without rows do not matter."""
    tables: list[pa.Table] = []
    full: list[Path] = []
    rows = 0
    names: list[str] = []
    metadata: dict[bytes, bytes] = {}
    for place in _files_of(path) if path.is_dir() else [path]:
        partition = _partition(place.relative_to(path)) if path.is_dir() else {}
        with _open(place) as file:
            own = file.schema_arrow.names
            if tables and not file.metadata.num_rows:
                continue
            count = file.metadata.num_rows  # a table of no column has no row
            table = file.read(columns=[name for name in wanted if name in own]).replace_schema_metadata(None)
            metadata = metadata or dict(file.schema_arrow.metadata or {})
        for name in (name for name in partition if name in wanted and name not in own):
            table = table.append_column(name, pa.array([partition[name]] * count, pa.string()))
        if full and ("feature" in own) != ("feature" in names):
            raise InputError(f"{place} and {full[0]} differ: only one of them has the column feature")
        tables.append(table)
        names += [name for name in (*own, *partition) if name not in names]
        full += [place] if count else []
        rows += count
    ids = pa.concat_tables([table for table in tables if table.num_rows] or tables, promote_options="permissive")
    return FeatureColumns(rows, names, ids, _batches_of(full) if "feature" in names else None, metadata)


def _batches_of(files: Sequence[Path]) -> Iterator[pa.Array]:
    for place in files:
        with _open(place) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["feature"]):
                yield stored_lists(batch.column(0))


def stored_lists(column: pa.Array) -> pa.Array:
    """The lists of numbers that a tensor column is stored as; any other column as it is.

    Ray Data stores tensors of one shape as lists, and tensors of several shapes as pairs of list and shape.
    """
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    kind = column.type
    if pa.types.is_struct(kind) and {field.name for field in kind} == {"data", "shape"}:
        column = column.field("data")
    return column


def _columns_of_arrays(arrays: Arrays, wanted: Sequence[str]) -> FeatureColumns:
    features = arrays.features

    def batches() -> Iterator[pa.Array]:
        for start in range(0, len(features), BATCH_ROWS):
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
                part = features[start : start + BATCH_ROWS].astype(np.float32)
            yield pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])

    return FeatureColumns(
        rows=len(features),
        names=["feature", *arrays.ids.column_names],
        ids=arrays.ids.select([name for name in wanted if name in arrays.ids.column_names]),
        batches=batches(),
        metadata={},
    )
