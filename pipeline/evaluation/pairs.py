"""Protocols of pairs: the queries of one subset are searched in the gallery that belongs to it, and in no other."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.evaluation.protocols import Protocol
from pipeline.evaluation.ranking import Retrieval, score
from pipeline.evaluation.rerank import reranked_blocks
from pipeline.evaluation.settings import RerankSettings
from pipeline.features.feature_set import FeatureSet, Integers


def pairs_of(query: FeatureSet, gallery: FeatureSet, protocol: Protocol) -> list[tuple[Integers, Integers]]:
    """Positions of the queries and of the gallery of each pair that has both.

    Args:
        query: As :func:`pipeline.evaluation.protocols.select` gives it.
        gallery: Likewise.
        protocol: Whose roles are the pairs.
    """
    found = [
        (np.flatnonzero(query.role == asked), np.flatnonzero(gallery.role == searched))
        for asked, searched in zip(protocol.query_roles, protocol.gallery_roles, strict=True)
    ]
    return [(rows, items) for rows, items in found if len(rows) and len(items)]


def _nothing(query: FeatureSet, gallery: FeatureSet, depth: int) -> Retrieval:
    """Results of queries for which nothing was ranked yet: none has a good item."""
    count = len(query)
    return Retrieval(
        average_precision=np.zeros(count),
        inverse_negative_penalty=np.zeros(count),
        first_rank=np.zeros(count, dtype=np.int64),
        good=np.zeros(count, dtype=np.int64),
        junk=np.zeros(count, dtype=np.int64),
        person_id=query.person_id,
        image_id=query.image_id,
        gallery_image_id=gallery.image_id,
        head=np.full((count, depth), -1, dtype=np.int64),
        head_good=np.zeros((count, depth), dtype=np.bool_),
    )


def score_pairs(
    query: FeatureSet,
    gallery: FeatureSet,
    protocol: Protocol,
    *,
    threads: int | None = None,
    depth: int = 0,
    reranking: RerankSettings | None = None,
    advance: Callable[[int], None] | None = None,
) -> tuple[Retrieval, list[Retrieval]]:
    """Rank for every query the gallery of its pair.

    Args:
        query: As :func:`pipeline.evaluation.protocols.select` gives it.
        gallery: Likewise.
        protocol: Whose roles are the pairs.
        threads: As for :func:`pipeline.evaluation.ranking.score`.
        depth: Likewise.
        reranking: Rank by the distance that is re-ranked within the pair.
        advance: As for :func:`pipeline.evaluation.ranking.score`.

    Returns:
        The results of all queries, and those of each pair in which a query has a good item: of all queries too, those
        of other pairs being without good items.
    """
    whole = _nothing(query, gallery, depth)
    members = []
    for rows, items in pairs_of(query, gallery, protocol):
        asked, searched = query.take(rows), gallery.take(items)
        blocks = None if reranking is None else reranked_blocks(asked.features, searched.features, reranking)
        found = score(asked, searched, protocol, threads, depth=depth, blocks=blocks, advance=advance)
        for name in ("average_precision", "inverse_negative_penalty", "first_rank", "good", "junk", "head_good"):
            getattr(whole, name)[rows] = getattr(found, name)
        whole.head[rows] = np.where(found.head >= 0, items[found.head], -1)
        members.append(rows)
    parts = []
    for rows in members:
        good = np.zeros_like(whole.good)
        good[rows] = whole.good[rows]
        if good.any():
            parts.append(replace(whole, good=good))
    return whole, parts
