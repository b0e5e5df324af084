"""Figure 8 of the paper: ranked lists of two checkpoints for the same queries, side by side."""

from collections.abc import Sequence

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.protocols import Protocol
from pipeline.reporting.figures.mosaic import Tile, mosaic
from pipeline.reporting.figures.section import RankedPair, Section, SideBySide
from pipeline.reporting.ranked import QueryResult, RankedPictures
from pipeline.shards.reader import ShardReader


def choose_apart(first: Sequence[float], second: Sequence[float], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Choose which queries are shown.

    Args:
        first: Average precision of each query with the first checkpoint, (Q,).
        second: With the second, (Q,).
        count: Queries wanted in all; fewer come back if there are fewer.
        seed: Decides the draw.

    Returns:
        ``count // 2`` queries whose figures differ most (none that do not differ at all), the largest difference
        first; and queries drawn at random from the others, ascending.
    """
    gaps = np.abs(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64))
    order = np.argsort(-gaps, kind="stable")
    apart = [int(query) for query in order[: min(count, len(gaps)) // 2] if gaps[query] > 0]
    others = np.setdiff1d(np.arange(len(gaps)), apart)
    wanted = min(count, len(gaps)) - len(apart)
    drawn = np.random.default_rng([seed, 34]).choice(others, wanted, replace=False)
    return apart, sorted(drawn.tolist())


def make_side_by_side(
    reader: ShardReader,
    first: Sequence[QueryResult],
    second: Sequence[QueryResult] | None,
    count: int,
    seed: int,
) -> SideBySide:
    """Choose queries and take their pictures from the shards.

    Args:
        reader: The shards.
        first: Results of all queries with the first checkpoint.
        second: Of the same queries with the second; None: there is only one, and all queries are drawn at random.
        count: How many are shown.
        seed: Decides the draw.

    Raises:
        InputError: The two have other queries, or an image is not in the shards.
    """
    others = first if second is None else second
    if [result.image_id for result in first] != [result.image_id for result in others]:
        raise InputError("the two checkpoints were ranked for different queries: extract their features again")
    precision = [np.array([result.average_precision for result in results]) for results in (first, others)]
    apart, random = choose_apart(precision[0].tolist(), precision[1].tolist(), count, seed)
    pictures = RankedPictures(reader)

    def pair(query: int) -> RankedPair:
        return RankedPair(pictures.ranking(first[query]), None if second is None else pictures.ranking(second[query]))

    return SideBySide(
        queries=len(first),
        better=int((precision[0] > precision[1]).sum()),
        worse=int((precision[0] < precision[1]).sum()),
        apart=tuple(pair(query) for query in apart),
        random=tuple(pair(query) for query in random),
    )


def ranked_section(shown: SideBySide, names: Sequence[str], protocol: Protocol, means: Sequence[float]) -> Section:
    """The figure.

    Args:
        shown: Queries.
        names: Of the one or two checkpoints.
        protocol: That ranked.
        means: Mean average precision of each checkpoint.
    """
    notes = [
        f"Protocol {protocol.name}: {protocol.meaning}. The nearest gallery items of a query, after what is junk under "
        f"this protocol was taken out. A tick in a full green frame: the same person; a cross in a dashed red frame: "
        f"someone else."
    ]
    if len(names) > 1:
        equal = shown.queries - shown.better - shown.worse
        notes.append(
            f"Of {shown.queries:,} queries {shown.better:,} have a higher average precision with {names[0]}, "
            f"{shown.worse:,} with {names[1]}, {equal:,} have the same."
        )
    pairs = (*shown.apart, *shown.random)
    return Section(
        notes=tuple(notes),
        numbers={
            "protocol": protocol.name,
            "queries": shown.queries,
            "better": shown.better,
            "worse": shown.worse,
            "mAP": {name: 100 * mean for name, mean in zip(names, means, strict=True)},
            "shown": [_plain(pair, names) for pair in pairs],
        },
        names=tuple(names),
        ranked=shown,
        files={"ranked.png": _file(pairs, names)} if pairs else {},
    )


def _plain(pair: RankedPair, names: Sequence[str]) -> dict[str, object]:
    lists = {
        name: {
            "average_precision": ranking.result.average_precision,
            "first_right": ranking.result.first_right,
            "gallery": [{"image_id": image, "right": right} for image, right in ranking.result.head],
        }
        for name, ranking in zip(names, (pair.first, pair.second), strict=False)
        if ranking is not None
    }
    return {"query": pair.first.result.image_id, "lists": lists}


def _file(pairs: Sequence[RankedPair], names: Sequence[str]) -> bytes:
    """One row a query: the query, then the list of each checkpoint."""
    rows, head = [], ["query"]
    depth = max((len(pair.first.hits) for pair in pairs), default=0)
    for name in names:
        head += [f"{name}\n{rank}" for rank in range(1, depth + 1)]
    for pair in pairs:
        row: list[Tile | None] = [Tile(pair.first.query.picture, "")]
        for ranking in (pair.first, pair.second)[: len(names)]:
            hits = ranking.hits if ranking is not None else ()
            found: list[Tile | None] = [Tile(hit.picture, "", hit.right) for hit in hits]
            row += found + [None] * (depth - len(found))
        rows.append(row)
    return mosaic(head, rows)
