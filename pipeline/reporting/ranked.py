"""Ranked galleries: some queries and the head of their rankings, as the protocol ranks them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.protocols import Protocol, find_protocols, select
from pipeline.evaluation.ranking import ranked_list, score
from pipeline.reporting.cards import ImageCard, image_card
from pipeline.reporting.pictures import Box, Picture, photo, shrink_image
from pipeline.shards.reader import ShardReader

RANKED_BOX = Box(height=156, width=117)
_CLOTHES_CHANGING = "cc"
_SEED_QUERIES = 12


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
        average_precision: In [0, 1].
        first_right: Rank of the first right item, from 1.
        right_count: Right items in the gallery.
        junk_count: Items of the query's identity that the protocol takes out.
        hits: The nearest gallery items, the nearest first.
    """

    query: Shown
    average_precision: float
    first_right: int
    right_count: int
    junk_count: int
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

    Single-shot protocols are passed over, for each draw ranks another gallery; None if there are no others.

    Args:
        names: Protocols that were evaluated, in their order.

    Raises:
        InputError: A name is not known.
    """
    protocols = [protocol for name in names for protocol in find_protocols(name) if not protocol.single_shot]
    changing = [protocol for protocol in protocols if _CLOTHES_CHANGING in protocol.name.split(":")]
    return next(iter(changing + protocols), None)


def choose_queries(
    average_precision: NDArray[np.float64], valid: NDArray[np.bool_], count: int, seed: int
) -> tuple[list[int], list[int]]:
    """Choose which queries are shown; those that the protocol skips never are.

    Args:
        average_precision: Of each query, (Q,).
        valid: Queries that have a right item, (Q,).
        count: Queries wanted in all; fewer come back if there are fewer.
        seed: Decides the draw.

    Returns:
        Queries drawn at random, ascending; and ``count // 2`` with the lowest average precision, the lowest first.
    """
    usable = np.flatnonzero(valid)
    order = usable[np.argsort(average_precision[usable], kind="stable")]
    worst = [int(query) for query in order[: min(count, len(usable)) // 2]]
    others = [int(query) for query in usable if query not in worst]
    generator = np.random.default_rng([seed, _SEED_QUERIES])
    wanted = min(count, len(usable)) - len(worst)
    return sorted(others[position] for position in generator.permutation(len(others))[:wanted]), worst


class _Pictures:
    """Cards and pictures of images by their names."""

    def __init__(self, reader: ShardReader) -> None:
        self._reader = reader
        self._rows = {name: row for row, name in enumerate(reader.ids.image_id)}

    def show(self, image_id: str) -> Shown:
        row = self._rows.get(image_id)
        if row is None:
            raise InputError(
                f"the features have an image {image_id!r} that the shards in {self._reader.folder} have not: "
                f"run ccaf-pipeline extract and evaluate again"
            )
        card = image_card(self._reader.ids, row)
        return Shown(card, photo(shrink_image(self._reader.image(row), RANKED_BOX), f"{card.image_id}, {card.text}"))


def _rank(
    queries: list[int], query: FeatureSet, gallery: FeatureSet, protocol: Protocol, pictures: _Pictures, depth: int
) -> tuple[Ranking, ...]:
    if not queries:
        return ()
    retrieval = score(query.take(np.array(queries)), gallery, protocol)
    rankings = []
    for position, row in enumerate(queries):
        head = ranked_list(query, row, gallery, protocol, depth)
        hits = []
        for name, right in zip(gallery.image_id[head.positions], head.correct, strict=True):
            shown = pictures.show(str(name))
            hits.append(Hit(shown.card, shown.picture, bool(right)))
        same = int((gallery.person_id == query.person_id[row]).sum())
        rankings.append(
            Ranking(
                query=pictures.show(str(query.image_id[row])),
                average_precision=float(retrieval.average_precision[position]),
                first_right=int(retrieval.first_rank[position]),
                right_count=int(retrieval.good[position]),
                junk_count=same - int(retrieval.good[position]),
                hits=tuple(hits),
            )
        )
    return tuple(rankings)


def make_galleries(
    reader: ShardReader, features: FeatureSet, protocol: Protocol, *, queries: int, depth: int, seed: int
) -> RankedGalleries:
    """Rank the gallery for some queries and take the pictures from the shards.

    Args:
        reader: The shards that the features were extracted from.
        features: Of queries and gallery.
        protocol: Says what is right and what is junk.
        queries: How many are shown: one half drawn at random, the other those of the lowest average precision.
        depth: Gallery items shown of each.
        seed: Decides the draw.

    Raises:
        InputError: The features do not fit the protocol or the shards.
    """
    query, gallery = select(features, protocol)
    retrieval = score(query, gallery, protocol)
    random, worst = choose_queries(retrieval.average_precision, retrieval.valid, queries, seed)
    pictures = _Pictures(reader)
    return RankedGalleries(
        protocol=protocol.name,
        meaning=protocol.meaning,
        random=_rank(random, query, gallery, protocol, pictures, depth),
        worst=_rank(worst, query, gallery, protocol, pictures, depth),
    )
