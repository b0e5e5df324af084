"""Re-ranking by k-reciprocal neighbours (Zhong et al. 2017, arXiv 1701.08398; equation numbers are that paper's).

The conventions are those that published numbers were made with: a neighbourhood includes the item itself, the
two-thirds rule of equation 5 is strict, a distance is divided by the item's largest one, and the weights of equation 7
are divided by their sum. Neighbours and weights are kept sparse, so that no matrix of all items by all items is ever in
memory. Queries and the whole gallery, junk included, are neighbours of each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.ranking import best_items
from pipeline.evaluation.settings import RerankSettings
from pipeline.evaluation.similarity import Scores, similarity_blocks

ROWS_AT_ONCE = 512
ENTRY_BYTES = 28  # of an averaged weight at the peak: by row, by column, and the order between them

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix row by row: row i has ``values[start[i]:start[i + 1]]`` in the columns of the same slice."""

    start: Integers
    columns: NDArray[np.int32]
    values: Scores

    def gather(self, rows: Integers) -> tuple[Integers, NDArray[np.int32], Scores]:
        """The entries of some rows, one row after another: index in ``rows``, column and value of each entry."""
        lengths = self.start[rows + 1] - self.start[rows]
        owner = np.repeat(np.arange(len(rows)), lengths)
        offsets = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        entries = self.start[rows][owner] + offsets
        return owner, self.columns[entries], self.values[entries]


class _SparseBuilder:
    """Collects a square sparse matrix, some rows at a time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lengths: list[Integers] = []
        self._columns: list[NDArray[np.int32]] = []
        self._values: list[Scores] = []

    def add(self, first_row: int, rows: int, keys: Integers, values: NDArray[np.floating[Any]]) -> None:
        """Entries of the next rows, given by their ascending keys ``row * size + column``."""
        row, column = np.divmod(keys, self._size)
        self._lengths.append(np.bincount(row - first_row, minlength=rows))
        self._columns.append(column.astype(np.int32))
        self._values.append(values.astype(np.float32))

    def build(self) -> SparseRows:
        """The matrix."""
        start = np.concatenate([[0], np.cumsum(np.concatenate(self._lengths))])
        return SparseRows(start, np.concatenate(self._columns), np.concatenate(self._values))


def bytes_needed(queries: int, gallery: int, dimension: int, settings: RerankSettings) -> int:
    """Upper bound of the memory: features, neighbours, and the weights of the largest possible neighbourhoods."""
    items = queries + gallery
    k1, k2 = settings.rerank_neighbours, settings.rerank_averaged
    largest = min((k1 + 1) * (round(k1 / 2) + 2), items)
    averaged = min(largest * k2, items)
    return items * (4 * dimension + 8 * max(k1 + 1, k2) + ENTRY_BYTES * averaged)


def check_memory(queries: int, gallery: int, dimension: int, settings: RerankSettings) -> None:
    """Refuse sets that are too large.

    Raises:
        InputError: They may need more memory than ``settings.rerank_gigabytes``.
    """
    needed = bytes_needed(queries, gallery, dimension, settings) / 1e9
    if needed > settings.rerank_gigabytes:
        raise InputError(
            f"re-ranking {queries} queries and {gallery} gallery items may need {needed:.1f} GB of memory; "
            f"the limit evaluate.rerank_gigabytes is {settings.rerank_gigabytes:g}: raise it, or leave --rerank out"
        )


def _neighbours(items: Scores, count: int) -> tuple[Integers, Scores]:
    """The ``count`` nearest of each item, itself first (equal ones in their order), and its largest 2 - 2 cos."""
    depth = min(count, len(items))
    nearest = np.empty((len(items), depth), dtype=np.int64)
    largest = np.empty(len(items), dtype=np.float32)
    nothing = np.empty(0, dtype=np.int64)
    for start, block in similarity_blocks(items, items):
        for offset, row in enumerate(block):
            largest[start + offset] = 2 - 2 * row.min()
            row[start + offset] = np.inf
            nearest[start + offset] = best_items(row, nothing, depth)
    return nearest, np.maximum(largest, np.float32(1e-12))


def _reciprocal(nearest: Integers, k: int) -> Mask:
    """R(p, k) of equation 3: which of the k + 1 nearest items have p among their own k + 1 nearest."""
    forward = nearest[:, : k + 1]
    mask = np.empty(forward.shape, dtype=np.bool_)
    for start in range(0, len(nearest), ROWS_AT_ONCE):
        part = forward[start : start + ROWS_AT_ONCE]
        item = np.arange(start, start + len(part))
        mask[start : start + len(part)] = (nearest[part, : k + 1] == item[:, None, None]).any(axis=2)
    return mask


def _expanded(nearest: Integers, whole: Mask, half: Mask, start: int) -> Integers:
    """R*(p, k1) of equation 5 for some items: ascending keys ``p * N + neighbour``."""
    rows = slice(start, start + ROWS_AT_ONCE)
    candidates = nearest[rows, : whole.shape[1]]  # (n, k1 + 1)
    own = np.where(whole[rows], candidates, -1)
    theirs = nearest[candidates, : half.shape[1]]  # (n, k1 + 1, k1 / 2 + 1)
    counted = half[candidates] & whole[rows][:, :, None]
    shared = (theirs[..., None] == own[:, None, None, :]).any(axis=3) & counted
    joins = 3 * shared.sum(axis=2) > 2 * counted.sum(axis=2)
    item = np.arange(start, start + len(own))
    base = item * len(nearest)
    added = (base[:, None, None] + theirs)[counted & joins[:, :, None]]
    return np.unique(np.concatenate([(base[:, None] + own)[own >= 0], added]))


def _weights(items: Scores, nearest: Integers, largest: Scores, k1: int) -> SparseRows:
    """V of equation 7, each row divided by its sum."""
    whole, half = _reciprocal(nearest, k1), _reciprocal(nearest, round(k1 / 2))
    built = _SparseBuilder(len(items))
    for start in range(0, len(items), ROWS_AT_ONCE):
        key = _expanded(nearest, whole, half, start)
        row, column = np.divmod(key, len(items))
        cosine = np.empty(len(key), dtype=np.float32)
        for first in range(0, len(key), ROWS_AT_ONCE):
            pair = slice(first, first + ROWS_AT_ONCE)
            cosine[pair] = np.einsum("nd,nd->n", items[row[pair]], items[column[pair]])
        weight = np.exp(-np.maximum(2 - 2 * cosine, 0) / largest[row])
        sums = np.bincount(row - start, weights=weight)
        built.add(start, len(sums), key, weight / sums[row - start])
    return built.build()


def _average(weights: SparseRows, nearest: Integers, k2: int) -> SparseRows:
    """Local query expansion, equation 11: the mean of the weights over the k2 nearest, the item itself included."""
    if k2 == 1:
        return weights
    total = len(nearest)
    built = _SparseBuilder(total)
    for start in range(0, total, ROWS_AT_ONCE):
        near = nearest[start : start + ROWS_AT_ONCE, :k2]
        owner, column, value = weights.gather(near.ravel())
        key, place = np.unique((start + owner // near.shape[1]) * total + column, return_inverse=True)
        built.add(start, len(near), key, np.bincount(place, weights=value) / near.shape[1])
    return built.build()


def _by_column(weights: SparseRows, first_row: int) -> SparseRows:
    """The transpose of the rows from ``first_row`` on, which are counted from 0."""
    begin = int(weights.start[first_row])
    columns = weights.columns[begin:]
    rows = np.repeat(np.arange(len(weights.start) - 1 - first_row), np.diff(weights.start[first_row:]))
    order = np.argsort(columns, kind="stable")
    start = np.searchsorted(columns[order], np.arange(len(weights.start)))
    return SparseRows(start, rows[order].astype(np.int32), weights.values[begin:][order])


def reranked_blocks(query: Scores, gallery: Scores, settings: RerankSettings) -> Iterator[tuple[int, Scores]]:
    """Negative re-ranked distances, some queries at a time, for :func:`pipeline.evaluation.ranking.score`.

    Args:
        query: L2-normalised features, (Q, D).
        gallery: Likewise, (G, D).
        settings: Of the method.

    Yields:
        Number of the first query of the block, and -d* of equation 12, (q, G).

    Raises:
        InputError: The sets are too large for ``settings.rerank_gigabytes``.
    """
    check_memory(len(query), len(gallery), query.shape[1], settings)
    items = np.concatenate([query, gallery])
    k1, k2 = settings.rerank_neighbours, settings.rerank_averaged
    nearest, largest = _neighbours(items, max(k1 + 1, k2))
    weights = _average(_weights(items, nearest, largest, k1), nearest, k2)
    del items
    by_column = _by_column(weights, len(query))
    share = np.float32(settings.rerank_lambda)
    for start, block in similarity_blocks(query, gallery):
        for offset, row in enumerate(block):
            position = start + offset
            _, columns, own = weights.gather(np.array([position]))
            owner, found, theirs = by_column.gather(columns.astype(np.int64))
            # rows of V sum to 1, so the sum of maxima is 2 less the sum of minima (equation 10)
            minima = np.bincount(found, weights=np.minimum(theirs, own[owner]), minlength=len(gallery))
            jaccard = 1 - minima / (2 - minima)
            original = np.maximum(2 - 2 * row, 0) / largest[position]
            row[:] = -((1 - share) * jaccard + share * original)
        yield start, block
