"""Exact ranks of the good gallery items of every query, in chunks, without sorting what need not be sorted.

A lower distance (-cosine) ranks first; equal distances rank in the order of the gallery.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.evaluation.features import FeatureSet, Integers
from pipeline.evaluation.protocols import Protocol, good_items

CHUNK_BYTES = 256 << 20
FEW_ITEMS = 12  # up to so many thresholds, comparing the row with each is faster than sorting the row

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Retrieval:
    """What a protocol makes of each query.

    Attributes:
        average_precision: Mean over the good items of i / rank_i, (Q,); 0 where the query has none.
        inverse_negative_penalty: Number of good items / rank of the last one, (Q,); its mean is mINP (Ye et al. 2021).
        first_rank: Rank of the first good item, from 1, (Q,); 0 where the query has none.
        good: Number of good items, (Q,); queries with 0 are skipped.
        person_id: Identity of each query, (Q,).
        image_id: Name of each query, (Q,).
    """

    average_precision: NDArray[np.float64]
    inverse_negative_penalty: NDArray[np.float64]
    first_rank: Integers
    good: Integers
    person_id: Integers
    image_id: NDArray[np.str_]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Queries that have a good item."""
        return self.good > 0


def _above(row: Scores, order: Scores | None, thresholds: Scores, positions: Integers) -> Integers:
    """How many gallery items rank before each threshold item: larger score, or equal and earlier."""
    if order is None:
        larger = np.array([np.count_nonzero(row > value) for value in thresholds], dtype=np.int64)
        reached = np.array([np.count_nonzero(row >= value) for value in thresholds], dtype=np.int64)
    else:
        larger = len(row) - np.searchsorted(order, thresholds, side="right")
        reached = len(row) - np.searchsorted(order, thresholds, side="left")
    for index in np.flatnonzero(reached - larger > 1):
        larger[index] += np.count_nonzero(row[: positions[index]] == thresholds[index])
    return larger


def good_ranks(row: Scores, same: Integers, good: NDArray[np.bool_]) -> Integers:
    """Ranks (from 1, ascending) of the good items among all gallery items but the junk.

    Args:
        row: Similarities of the query to all gallery items, (G,).
        same: Ascending gallery positions of all items of the query's identity.
        good: Which of them are good; the others are junk.
    """
    wanted = same[good]
    thresholds = row[wanted]
    order = np.sort(row) if len(wanted) > FEW_ITEMS else None
    above = _above(row, order, thresholds, wanted)
    junk = same[~good]
    junk_scores = row[junk]
    before = (junk_scores > thresholds[:, None]) | ((junk_scores == thresholds[:, None]) & (junk < wanted[:, None]))
    return np.sort(above - before.sum(axis=1) + 1)


def similarity_rows(query: FeatureSet, gallery: FeatureSet) -> Iterator[tuple[int, Scores]]:
    """Chunks of the similarity matrix: number of the first query, and (q, G) cosines in float32."""
    step = max(1, CHUNK_BYTES // (4 * len(gallery)))
    transposed = torch.from_numpy(gallery.features).T
    for start in range(0, len(query), step):
        yield start, (torch.from_numpy(query.features[start : start + step]) @ transposed).numpy()


class IdentityIndex:
    """Gallery positions by identity."""

    def __init__(self, person_id: Integers) -> None:
        self._order = np.argsort(person_id, kind="stable")
        self._sorted = person_id[self._order]

    def positions(self, person: int) -> Integers:
        """Ascending positions of one identity's items."""
        start, end = np.searchsorted(self._sorted, [person, person + 1])
        return self._order[start:end]


def score(query: FeatureSet, gallery: FeatureSet, protocol: Protocol, threads: int | None = None) -> Retrieval:
    """Rank the gallery for every query.

    Args:
        query: As :func:`pipeline.evaluation.protocols.select` gives it.
        gallery: Likewise.
        protocol: Tells good items from junk.
        threads: Threads that rank the rows of a chunk; None: torch's number.
    """
    count = len(query)
    precision, penalty = np.zeros(count), np.zeros(count)
    first, number = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    index = IdentityIndex(gallery.person_id)

    def rank(position: int, row: Scores) -> None:
        same = index.positions(int(query.person_id[position]))
        good = good_items(query, position, gallery, same, protocol)
        if not good.any():
            return
        ranks = good_ranks(row, same, good)
        number[position] = len(ranks)
        first[position] = ranks[0]
        precision[position] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
        penalty[position] = len(ranks) / ranks[-1]

    with ThreadPoolExecutor(threads or torch.get_num_threads()) as pool:
        for start, rows in similarity_rows(query, gallery):
            list(pool.map(rank, range(start, start + len(rows)), rows))
    return Retrieval(precision, penalty, first, number, query.person_id, query.image_id)


@dataclass(frozen=True)
class RankedList:
    """The head of one query's ranked gallery, junk removed.

    Attributes:
        positions: Gallery positions, best first.
        similarity: Their cosines.
        correct: Which of them are good.
    """

    positions: Integers
    similarity: Scores
    correct: NDArray[np.bool_]


def ranked_list(query: FeatureSet, row: int, gallery: FeatureSet, protocol: Protocol, depth: int) -> RankedList:
    """The first ``depth`` gallery items for query number ``row``, as the protocol ranks them."""
    similarity = gallery.features @ query.features[row]
    same = np.flatnonzero(gallery.person_id == query.person_id[row])
    good = good_items(query, row, gallery, same, protocol)
    kept = np.ones(len(gallery), dtype=np.bool_)
    kept[same[~good]] = False
    order = np.argsort(-similarity, kind="stable")
    positions = order[kept[order]][:depth]
    return RankedList(positions, similarity[positions], np.isin(positions, same[good]))
