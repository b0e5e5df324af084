"""Pieces of a feature file: row groups of Parquet that threads may read at once, or batches one after another."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.features.formats import open_columns, stored_lists

LARGEST_GROUP: Final = 16_384
"""Rows of a row group that a thread may hold; files with larger ones are read one batch after another."""

Chunk = tuple[int, pa.Array]
"""The first row of some rows, and their features as lists."""


@dataclass(frozen=True)
class RowGroups:
    """The row groups of a Parquet file, each of which a thread may hold.

    Attributes:
        path: The file.
        metadata: Of Parquet.
        starts: First row of each group, and the number of all rows.
    """

    path: Path
    metadata: Any
    starts: NDArray[np.int64]

    def read(self, number: int) -> Chunk:
        """The features of a group.

        Raises:
            InputError: The file is damaged.
        """
        try:
            with pq.ParquetFile(self.path, metadata=self.metadata, memory_map=True, pre_buffer=False) as file:
                column = file.read_row_group(number, columns=["feature"], use_threads=False)["feature"]
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"feature file {self.path} cannot be read as Parquet: {error}") from error
        return int(self.starts[number]), stored_lists(column.combine_chunks())


def row_groups(path: Path) -> RowGroups | None:
    """The row groups of a file; None where it has none, or too large ones.

    Raises:
        InputError: The file is damaged.
    """
    if not path.is_file() or path.suffix.lower() != ".parquet":
        return None
    try:
        metadata = pq.read_metadata(path, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"feature file {path} cannot be read as Parquet: {error}") from error
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if max(sizes, default=0) > LARGEST_GROUP:
        return None
    return RowGroups(path, metadata, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


def chunks_in_order(path: Path, stack: ExitStack) -> Iterator[Chunk]:
    """All rows of a file, in batches; the file is open until ``stack`` ends."""
    columns = stack.enter_context(open_columns(path, []))
    first = 0
    for lists in columns.batches or ():
        yield first, lists
        first += len(lists)
