"""What a scoring will cost, known before it begins: the time of a ranking, from a small share of it that is tried."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.evaluation.protocols import Protocol, select
from pipeline.evaluation.ranking import score
from pipeline.evaluation.rerank import check_memory
from pipeline.evaluation.settings import RerankSettings
from pipeline.evaluation.similarity import block_rows
from pipeline.features.feature_set import FeatureSet
from pipeline.progress import duration

LONG_SECONDS = 20.0
"""A shorter ranking is begun without a word."""
SHARE = 20
"""The trial is at most one part in so many of the whole."""


def check_reranking(items: FeatureSet, protocols: list[Protocol], settings: RerankSettings) -> None:
    """Refuse, before anything is ranked, what :func:`pipeline.evaluation.rerank.reranked_blocks` would refuse later.

    Raises:
        InputError: The sets of a protocol are too large for the memory that re-ranking may take, or the protocol
            cannot be used on these items.
    """
    slim = replace(items, features=items.features[:, :1])  # roles and ids decide, and rows may be copied
    for protocol in protocols:
        query, gallery = select(slim, protocol)
        count = len(np.unique(gallery.person_id)) if protocol.single_shot else len(gallery)
        check_memory(len(query), count, items.features.shape[1], settings)


def expected_seconds(query: FeatureSet, gallery: FeatureSet, protocol: Protocol) -> float | None:
    """About how long it takes to rank the gallery for all queries on this machine; None if that is not worth a trial.

    Some queries, spread over all of them, are ranked to find out.
    """
    tried = block_rows(len(gallery))
    if len(query) < SHARE * tried:
        return None
    sample = query.take(np.linspace(0, len(query) - 1, tried).astype(np.int64))
    started = time.monotonic()
    score(sample, gallery, protocol)
    return (time.monotonic() - started) * len(query) / tried


def tell_cost(
    query: FeatureSet, gallery: FeatureSet, protocol: Protocol, rerank: bool, say: Callable[[str], None]
) -> None:
    """Say how long the ranking will take if that is long; re-ranking compares all items with each other as well."""
    seconds = expected_seconds(query, gallery, protocol)
    if seconds is None:
        return
    items = len(query) + len(gallery)
    again = seconds * (1 + items * items / (len(query) * len(gallery))) if rerank else 0.0
    if seconds + again < LONG_SECONDS:
        return
    more = f", and re-ranking at least {duration(again)} more" if rerank else ""
    say(
        f"protocol {protocol.name}: ranking {len(gallery):,} images for {len(query):,} queries will take about "
        f"{duration(seconds)} here{more}"
    )
