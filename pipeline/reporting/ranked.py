"""Ranked galleries: some queries and the head of their rankings, as the protocol ranks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.evaluation.per_query import PER_QUERY_SCHEMA
from pipeline.evaluation.protocols import Protocol, find_protocols, select
from pipeline.evaluation.ranking import score
from pipeline.features.feature_set import FeatureSet
from pipeline.reporting.cards import ImageCard, image_card
from pipeline.reporting.pictures import Box, Picture, photo, shrink_image
from pipeline.shards.reader import ShardReader

RANKED_BOX = Box(height=156, width=117)
_CLOTHES_CHANGING = "cc"
_SEED_QUERIES = 12


@dataclass(frozen=True)
class QueryResult:
    """What a protocol made of one query that is not skipped.

    Attributes:
        image_id: Of the query.
        average_precision: In [0, 1].
        first_right: Rank of the first right item, from 1.
        right_count: Right items in the gallery.
        junk_count: Items that the protocol takes out.
        head: Image id of the nearest gallery items and whether they are right, the nearest first.
    """

    image_id: str
    average_precision: float
    first_right: int
    right_count: int
    junk_count: int
    head: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Shown:
    """One image with its picture."""

    card: ImageCard
    picture: Picture


@dataclass(frozen=True)
class Hit:
    """One gallery item of a ranking.

    Attributes:
        card: Which image it is.
        picture: Of it.
        right: Whether it counts as found.
    """

    card: ImageCard
    picture: Picture
    right: bool


@dataclass(frozen=True)
class Ranking:
    """One query and what was found first.

    Attributes:
        query: The query.
        result: Its figures.
        hits: The nearest gallery items, the nearest first.
    """

    query: Shown
    result: QueryResult
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class RankedGalleries:
    """The queries that a page shows.

    Attributes:
        protocol: Name of the protocol that ranked.
        meaning: What it means.
        random: Queries drawn by the seed.
        worst: Those with the lowest average precision, the lowest first.
    """

    protocol: str
    meaning: str
    random: tuple[Ranking, ...]
    worst: tuple[Ranking, ...]


def choose_protocol(names: Sequence[str]) -> Protocol | None:
    """The protocol whose rankings are shown: the first that changes clothes, else the first.

    Single-shot protocols and those of pairs rank several galleries and are passed over; None if there are no others.

    Args:
        names: Protocols that were evaluated, in their order.

    Raises:
        InputError: A name is not known.
    """
    found = [protocol for name in names for protocol in find_protocols(name)]
    protocols = [protocol for protocol in found if not (protocol.single_shot or protocol.paired)]
    changing = [protocol for protocol in protocols if _CLOTHES_CHANGING in protocol.name.split(":")]
    return next(iter(changing + protocols), None)


def rank_queries(features: FeatureSet, protocol: Protocol, depth: int) -> list[QueryResult]:
    """Rank the gallery for every query; queries without a right item are left out.

    Args:
        features: Of queries and gallery.
        protocol: Says what is right and what is junk.
        depth: Gallery items kept of each.

    Raises:
        InputError: The features do not fit the protocol.
    """
    query, gallery = select(features, protocol)
    found = score(query, gallery, protocol, depth=depth)
    results = []
    for row in np.flatnonzero(found.valid):
        positions = found.head[row][found.head[row] >= 0]
        names = found.gallery_image_id[positions].tolist()
        results.append(
            QueryResult(
                image_id=str(found.image_id[row]),
                average_precision=float(found.average_precision[row]),
                first_right=int(found.first_rank[row]),
                right_count=int(found.good[row]),
                junk_count=int(found.junk[row]),
                head=tuple(zip(names, found.head_good[row][: len(names)].tolist(), strict=True)),
            )
        )
    return results


def read_per_query(path: Path, protocol: str, depth: int) -> list[QueryResult]:
    """The same from the table that evaluate writes with --per-query; without re-ranking.

    Args:
        path: The table.
        protocol: Its queries are taken.
        depth: Gallery items kept of each; the table may hold fewer.

    Raises:
        InputError: The file is missing, is another, or has no query of the protocol.
    """
    try:
        table = pq.read_table(path, schema=PER_QUERY_SCHEMA)
    except FileNotFoundError:
        raise InputError(f"no results of queries at {path}: run `ccaf-pipeline evaluate --per-query {path}`") from None
    except (OSError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{path} is no table of evaluate --per-query: {error}") from error
    rows = [row for row in table.to_pylist() if row["protocol"] == protocol and not row["reranked"]]
    if not rows:
        raise InputError(f"{path} has no query of protocol {protocol}: run `ccaf-pipeline evaluate --per-query {path}`")
    return [
        QueryResult(
            image_id=row["image_id"],
            average_precision=row["average_precision"],
            first_right=row["first_rank"],
            right_count=row["good_count"],
            junk_count=row["junk_count"],
            head=tuple(zip(row["gallery_image_ids"], row["gallery_good"], strict=True))[:depth],
        )
        for row in rows
        if row["average_precision"] is not None
    ]


def choose_queries(average_precision: Sequence[float], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Choose which queries are shown.

    Args:
        average_precision: Of each query, (Q,).
        count: Queries wanted in all; fewer come back if there are fewer.
        seed: Decides the draw.

    Returns:
        Queries drawn at random, ascending; and ``count // 2`` with the lowest average precision, the lowest first.
    """
    total = len(average_precision)
    order = np.argsort(np.asarray(average_precision, dtype=np.float64), kind="stable")
    worst = [int(query) for query in order[: min(count, total) // 2]]
    others = sorted(set(range(total)) - set(worst))
    generator = np.random.default_rng([seed, _SEED_QUERIES])
    wanted = min(count, total) - len(worst)
    return sorted(others[position] for position in generator.permutation(len(others))[:wanted]), worst


class RankedPictures:
    """Cards and pictures of images by their names."""

    def __init__(self, reader: ShardReader) -> None:
        self._reader = reader
        self._rows = {name: row for row, name in enumerate(reader.ids.image_id)}

    def show(self, image_id: str) -> Shown:
        """The image of a name.

        Raises:
            InputError: The shards have none.
        """
        row = self._rows.get(image_id)
        if row is None:
            raise InputError(
                f"the ranking has an image {image_id!r} that the shards in {self._reader.folder} have not: "
                f"run ccaf-pipeline extract and evaluate again"
            )
        card = image_card(self._reader.ids, row)
        return Shown(card, photo(shrink_image(self._reader.image(row), RANKED_BOX), f"{card.image_id}, {card.text}"))

    def ranking(self, result: QueryResult) -> Ranking:
        """A query and the head of its ranking, with their pictures."""
        hits = []
        for name, right in result.head:
            shown = self.show(name)
            hits.append(Hit(shown.card, shown.picture, right))
        return Ranking(self.show(result.image_id), result, tuple(hits))


def make_galleries(
    reader: ShardReader, results: Sequence[QueryResult], protocol: Protocol, queries: int, seed: int
) -> RankedGalleries:
    """Choose some queries and take their pictures from the shards.

    Args:
        reader: The shards that the features were extracted from.
        results: Of all queries under the protocol.
        protocol: That ranked.
        queries: How many are shown: one half drawn at random, the other those of the lowest average precision.
        seed: Decides the draw.

    Raises:
        InputError: An image is not in the shards.
    """
    random, worst = choose_queries([result.average_precision for result in results], queries, seed)
    pictures = RankedPictures(reader)
    return RankedGalleries(
        protocol=protocol.name,
        meaning=protocol.meaning,
        random=tuple(pictures.ranking(results[row]) for row in random),
        worst=tuple(pictures.ranking(results[row]) for row in worst),
    )
