"""Search in a feature file: exact nearest neighbours by cosine, read in pieces, so that memory stays flat."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.features.feature_set import (
    NO_ID,
    Floats,
    check_values,
    checked_rows,
    list_rows,
    normalise_rows,
)
from pipeline.features.formats import FileStamp, open_columns, stamps_of
from pipeline.features.gallery_pieces import Chunk, chunks_in_order, row_groups
from pipeline.overlap import prefetch
from pipeline.progress import Progress


@dataclass(frozen=True)
class Gallery:
    """A feature file without its features.

    Attributes:
        path: The file, or the folder of files.
        ids: All columns that hold one value a row.
        metadata: What the file says of itself.
        stamps: Its files as they were when it was opened: ids are read then, features at each search.
    """

    path: Path
    ids: pa.Table
    metadata: dict[str, str]
    stamps: tuple[FileStamp, ...]

    def __len__(self) -> int:
        return int(self.ids.num_rows)

    def value(self, name: str, row: int) -> Any:
        """A value of a column; None where there is none, and for ids that stand for none."""
        value = self.ids[name][row].as_py() if name in self.ids.column_names else None
        return None if value == NO_ID else value

    def row_of(self, image_id: str) -> int | None:
        """The row of an image id; None if there is no such.

        Raises:
            InputError: Several rows have it.
        """
        if "image_id" not in self.ids.column_names:
            return None
        found = np.flatnonzero(pc.equal(self.ids["image_id"].cast(pa.string()), image_id).fill_null(False))
        if len(found) > 1:
            raise InputError(f"{self.path} has {len(found)} rows with the image_id {image_id}")
        return int(found[0]) if len(found) else None

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Within the block the features may be read: before and after it the files are those that were opened.

        Raises:
            InputError: They are not; whatever else the block raised may come of that.
        """
        self._check_stamps()
        try:
            yield
        finally:
            self._check_stamps()

    def _check_stamps(self) -> None:
        try:
            same = stamps_of(self.path) == self.stamps
        except (OSError, InputError):
            same = False
        if not same:
            raise InputError(f"the gallery {self.path} has changed since it was opened: start again")


def plain_value(value: Any) -> Any:
    """A value of a gallery as JSON has it: numbers that are none, dates and bytes do not fit in."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | str | bool | None) else str(value)


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of a gallery for some queries, the nearest first; equal ones in the order of the gallery.

    Attributes:
        rows: Rows of the gallery, (Q, k); -1 where there are fewer.
        similarity: Their cosines, float32 (Q, k).
        searched: Rows that were compared.
    """

    rows: NDArray[np.int64]
    similarity: Floats
    searched: int


def open_gallery(path: Path) -> Gallery:
    """Read all of a feature file but the features, in any form that evaluate reads.

    Raises:
        InputError: It is missing or damaged, has no features, or no row.
    """
    with open_columns(path, []) as columns:
        names = [name for name in dict.fromkeys(columns.names) if name != "feature"]
        if columns.batches is None:
            raise InputError(f"{path} lacks the column feature; it has: {', '.join(columns.names)}")
        if columns.names.count("feature") > 1:
            raise InputError(f"{path} has the column feature more than once")
    try:
        stamps = stamps_of(path)
    except OSError as error:
        raise InputError(f"feature file {path} cannot be read: {error.strerror or error}") from error
    with open_columns(path, names) as columns:
        if not columns.rows:
            raise InputError(f"the gallery {path} has no image")
        flat = [name for name in columns.ids.column_names if not pa.types.is_nested(columns.ids[name].type)]
        metadata = {
            key.decode(errors="replace"): value.decode(errors="replace") for key, value in columns.metadata.items()
        }
        ids = columns.ids.select(flat) if flat else pa.table({"row": pa.array(range(columns.rows), pa.int64())})
        return Gallery(path, ids, metadata, stamps)


def read_row(gallery: Gallery, row: int) -> Floats:
    """The feature of a row, L2-normalised, (D,).

    Raises:
        InputError: The features are damaged, or have changed since the gallery was opened.
    """
    with gallery.unchanged():
        return _feature_of(gallery, row)


def _feature_of(gallery: Gallery, row: int) -> Floats:
    groups = row_groups(gallery.path)
    if groups is not None and 0 <= row < len(gallery):
        number = int(np.searchsorted(groups.starts, row, side="right")) - 1
        return _feature_at(groups.read(number), gallery.path, row)
    with ExitStack() as stack:
        for piece in chunks_in_order(gallery.path, stack):
            if 0 <= row < piece[0] + len(piece[1]):
                return _feature_at(piece, gallery.path, row)
    raise InputError(f"{gallery.path} has no row {row}")


def _feature_at(piece: Chunk, path: Path, row: int) -> Floats:
    first, lists = piece
    found: Floats = normalise_rows(checked_rows(lists.slice(row - first, 1), path, row))[0]
    return found


def search(
    gallery: Gallery,
    queries: Floats,
    top: int,
    *,
    chosen: NDArray[np.bool_] | None = None,
    leave_out: Sequence[int] = (),
    threads: int = 0,
    quiet: bool = True,
) -> Neighbours:
    """Compare queries with every row of a gallery.

    Args:
        gallery: The gallery.
        queries: L2-normalised features, float32 (Q, D).
        top: Neighbours of each query.
        chosen: Rows that are compared, (G,); None: all.
        leave_out: For each query a row that is no neighbour of it, such as its own; -1: none. Empty: none at all.
        threads: Pieces compared at the same time; 0: as many as there are CPUs for this process.
        quiet: No progress line.

    Raises:
        InputError: The features have another dimension, are damaged, or have changed since the gallery was opened.
    """
    out = np.asarray(leave_out if len(leave_out) else [-1] * len(queries), dtype=np.int64)
    best = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]

    def compare(piece: Chunk) -> tuple[int, list[tuple[NDArray[np.int64], Floats]]]:
        return len(piece[1]), _compare(piece, gallery.path, queries, top, chosen, out)

    with gallery.unchanged(), ExitStack() as stack, Progress(len(gallery), "search", "image", quiet) as progress:
        for count, found in _compared(gallery.path, compare, threads or len(os.sched_getaffinity(0)), stack):
            best = [_nearest(np.append(a, c), np.append(b, d), top) for (a, b), (c, d) in zip(best, found, strict=True)]
            progress.advance(count)
    rows = np.full((len(queries), top), -1, dtype=np.int64)
    similarity = np.full((len(queries), top), np.nan, dtype=np.float32)
    for number, (places, values) in enumerate(best):
        rows[number, : len(places)], similarity[number, : len(places)] = places, values
    return Neighbours(rows, similarity, len(gallery) if chosen is None else int(chosen.sum()))


def _nearest(rows: NDArray[np.int64], values: Floats, top: int) -> tuple[NDArray[np.int64], Floats]:
    """The ``top`` largest values, the largest first, equal ones by their row."""
    if len(values) > top:
        least = np.partition(values, -top)[-top]
        near = values >= least
        rows, values = rows[near], values[near]
    order = np.lexsort((rows, -values))[:top]
    return rows[order], values[order]


def _compare(
    piece: Chunk, path: Path, queries: Floats, top: int, chosen: NDArray[np.bool_] | None, leave_out: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], Floats]]:
    """The nearest rows of one piece for each query."""
    first, lists = piece
    places = np.arange(first, first + len(lists))
    if chosen is not None:
        part = chosen[first : first + len(lists)]
        if not part.any():
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        places, lists = places[part], lists if part.all() else lists.filter(pa.array(part))
    features = list_rows(lists, path)
    if features.shape[1] != queries.shape[1]:
        raise InputError(
            f"the gallery {path} has features of {features.shape[1]} numbers and the query one of {queries.shape[1]}: "
            "they are not of one encoder"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", features, features)
    if not (np.isfinite(squares) & (squares > 0)).all():  # seldom: a second look is dearer than the product
        features = normalise_rows(check_values(features, path, first))
        squares = np.ones(len(features), dtype=np.float32)
    similarity = (queries @ features.T) / np.sqrt(squares)
    found = []
    for number, values in enumerate(similarity):
        keep = slice(None) if leave_out[number] < 0 else places != leave_out[number]
        found.append(_nearest(places[keep], values[keep], top))
    return found


def _compared(
    path: Path, compare: Callable[[Chunk], tuple[int, Any]], threads: int, stack: ExitStack
) -> Iterator[tuple[int, Any]]:
    """What ``compare`` makes of every piece of a file, in its order."""
    groups = row_groups(path)
    if groups is not None:
        full = (number for number, size in enumerate(np.diff(groups.starts)) if size)
        yield from prefetch(lambda number: compare(groups.read(number)), full, threads, threads)
        return
    yield from prefetch(compare, chunks_in_order(path, stack), threads, threads)
