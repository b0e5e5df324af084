"""Exact ranks of the good gallery items of every query, without sorting the gallery.

A lower distance (-cosine) ranks first; equal distances rank in the order of the gallery. An item's rank is one more
than the number of kept items before it. With few good items these are counted by comparison, one pass over the row an
item. With many, a histogram tells how many items lie in higher bins, and only bins with a good item are looked into.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.evaluation.protocols import Protocol, good_items
from pipeline.evaluation.similarity import Scores, similarity_blocks
from pipeline.features.feature_set import FeatureSet, Integers

FEW_ITEMS = 24  # up to so many good items, comparing the row with each is faster than the histogram
BINS = 8192


@dataclass(frozen=True)
class Retrieval:
    """What a protocol makes of each query.

    Attributes:
        average_precision: Mean over the good items of i / rank_i, (Q,); 0 where the query has none.
        inverse_negative_penalty: Number of good items / rank of the last one, (Q,); its mean is mINP (Ye et al. 2021).
        first_rank: Rank of the first good item, from 1, (Q,); 0 where the query has none.
        good: Number of good items, (Q,); queries with 0 are skipped.
        junk: Number of gallery items removed for the query, (Q,).
        person_id: Identity of each query, (Q,).
        image_id: Name of each query, (Q,).
        gallery_image_id: Name of each gallery item, (G,).
        head: Gallery positions of the best items, (Q, depth), best first; -1 behind the end of a short list.
        head_good: Which of them are good, (Q, depth).
    """

    average_precision: NDArray[np.float64]
    inverse_negative_penalty: NDArray[np.float64]
    first_rank: Integers
    good: Integers
    junk: Integers
    person_id: Integers
    image_id: NDArray[np.str_]
    gallery_image_id: NDArray[np.str_]
    head: Integers
    head_good: NDArray[np.bool_]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Queries that have a good item."""
        return self.good > 0


def _count_each(row: Scores, positions: Integers) -> Integers:
    """How many items rank before each position: the larger ones, and the equal ones that come earlier."""
    before = np.empty(len(positions), dtype=np.int64)
    for index, position in enumerate(positions.tolist()):
        value = row[position]
        earlier = np.count_nonzero(row[:position] >= value)
        before[index] = earlier + np.count_nonzero(row[position + 1 :] > value)
    return before


def _count_by_bins(row: Scores, positions: Integers) -> Integers:
    """The same by a histogram, in a time that hardly depends on the number of positions."""
    low = row.min()
    width = max(row.max() - low, np.float32(1e-30))
    # each operation is monotone in float32, so an item of a higher bin has a higher score
    bins = ((row - low) * (np.float32(BINS - 1) / width)).astype(np.int16)
    bins_of_good = bins[positions]
    counts = np.bincount(bins, minlength=BINS)
    hot = np.zeros(BINS, dtype=np.bool_)
    hot[bins_of_good] = True
    counts[hot] = 0
    inside = np.sort(row[hot.take(bins, mode="clip")])  # no bin is clipped; this mode is the fastest
    in_higher_cold_bins = len(row) - len(inside) - np.cumsum(counts)
    values = row[positions]
    end = np.searchsorted(inside, values, side="right")
    before: Integers = in_higher_cold_bins[bins_of_good] + len(inside) - end
    for index in np.flatnonzero(end - np.searchsorted(inside, values, side="left") > 1):
        before[index] += np.count_nonzero(row[: positions[index]] == values[index])
    return before


def good_ranks(row: Scores, same: Integers, good: NDArray[np.bool_]) -> Integers:
    """Ranks (from 1, ascending) of the good items among all gallery items but the junk.

    Args:
        row: Similarities of the query to all gallery items, (G,).
        same: Ascending gallery positions of all items of the query's identity.
        good: Which of them are good; the others are junk.
    """
    wanted = same[good]
    before = _count_each(row, wanted) if len(wanted) <= FEW_ITEMS else _count_by_bins(row, wanted)
    junk = same[~good]
    if len(junk):
        values, others = row[wanted][:, None], row[junk]
        ahead = (others > values) | ((others == values) & (junk < wanted[:, None]))
        before = before - ahead.sum(axis=1)
    return np.sort(before + 1)


def best_items(row: Scores, junk: Integers, depth: int) -> Integers:
    """Positions of the ``depth`` items that rank first, junk removed; fewer if there are fewer."""
    wanted = min(depth + len(junk), len(row))
    bound = np.partition(row, len(row) - wanted)[len(row) - wanted]
    candidates = np.flatnonzero(row >= bound)
    ordered = candidates[np.argsort(-row[candidates], kind="stable")]
    return ordered[~np.isin(ordered, junk)][:depth] if len(junk) else ordered[:depth]


class IdentityIndex:
    """Gallery positions by identity."""

    def __init__(self, person_id: Integers) -> None:
        self._order = np.argsort(person_id, kind="stable")
        self._sorted = person_id[self._order]

    def positions(self, person: int) -> Integers:
        """Ascending positions of one identity's items."""
        start, end = np.searchsorted(self._sorted, [person, person + 1])
        return self._order[start:end]


def score(
    query: FeatureSet,
    gallery: FeatureSet,
    protocol: Protocol,
    threads: int | None = None,
    *,
    depth: int = 0,
    blocks: Iterable[tuple[int, Scores]] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Retrieval:
    """Rank the gallery for every query.

    Args:
        query: As :func:`pipeline.evaluation.protocols.select` gives it.
        gallery: Likewise.
        protocol: Tells good items from junk.
        threads: Threads that rank the rows of a block; None: torch's number.
        depth: How many of the best items are kept in ``head``.
        blocks: Scores to rank by, larger is better, as :func:`similarity_blocks` yields them; None: the cosines.
        advance: Is told how many more queries are done.
    """
    count = len(query)
    precision, penalty = np.zeros(count), np.zeros(count)
    first, number, removed = (np.zeros(count, dtype=np.int64) for _ in range(3))
    head, head_good = np.full((count, depth), -1, dtype=np.int64), np.zeros((count, depth), dtype=np.bool_)
    index = IdentityIndex(gallery.person_id)

    def rank(position: int, row: Scores) -> None:
        same = index.positions(int(query.person_id[position]))
        good = good_items(query, position, gallery, same, protocol)
        removed[position] = len(same) - np.count_nonzero(good)
        if depth:
            best = best_items(row, same[~good], depth)
            head[position, : len(best)] = best
            head_good[position, : len(best)] = np.isin(best, same[good])
        if not good.any():
            return
        ranks = good_ranks(row, same, good)
        number[position] = len(ranks)
        first[position] = ranks[0]
        precision[position] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
        penalty[position] = len(ranks) / ranks[-1]

    def rank_share(start: int, rows: Scores, share: int) -> None:
        for offset in range(share, len(rows), shares):
            rank(start + offset, rows[offset])

    shares = threads or torch.get_num_threads()
    with ThreadPoolExecutor(shares) as pool:
        for start, rows in similarity_blocks(query.features, gallery.features) if blocks is None else blocks:
            list(pool.map(partial(rank_share, start, rows), range(shares)))
            if advance is not None:
                advance(len(rows))
    return Retrieval(
        precision, penalty, first, number, removed, query.person_id, query.image_id, gallery.image_id, head, head_good
    )


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
    """The first ``depth`` gallery items for query number ``row``, as :func:`score` ranks them."""
    _, block = next(iter(similarity_blocks(query.features[row : row + 1], gallery.features)))
    same = np.flatnonzero(gallery.person_id == query.person_id[row])
    good = good_items(query, row, gallery, same, protocol)
    positions = best_items(block[0], same[~good], depth)
    return RankedList(positions, block[0][positions], np.isin(positions, same[good]))
