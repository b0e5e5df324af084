"""CMC, mAP and mINP of a protocol, each with its interval: one entry of metrics.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.bootstrap import Values, bootstrap_intervals
from pipeline.evaluation.pairs import score_pairs
from pipeline.evaluation.protocols import (
    SINGLE_SHOT_DRAWS,
    Protocol,
    has_good_items,
    select,
    why_no_good_items,
)
from pipeline.evaluation.ranking import Retrieval, score
from pipeline.evaluation.rerank import reranked_blocks
from pipeline.evaluation.settings import RerankSettings
from pipeline.features.feature_set import FeatureSet
from pipeline.progress import Progress

CMC_RANKS = (1, 5, 10, 20)
MANY_PAIRS = 100_000_000
METRICS = (*(f"rank{rank}" for rank in CMC_RANKS), "mAP", "mINP")


def query_values(retrieval: Retrieval) -> Mapping[str, Values]:
    """Each metric's value of every query, in [0, 1]; the metric is the mean over the valid ones."""
    first = np.where(retrieval.valid, retrieval.first_rank, np.iinfo(np.int64).max)
    values: dict[str, Values] = {f"rank{rank}": (first <= rank).astype(np.float64) for rank in CMC_RANKS}
    values["mAP"] = retrieval.average_precision
    values["mINP"] = retrieval.inverse_negative_penalty
    return values


def _percent(value: float) -> float:
    return round(100.0 * float(value), 4)


def summarise(retrievals: Sequence[Retrieval], resamples: int, seed: int) -> dict[str, Any]:
    """Metrics in percent, ``<name>_interval`` unless ``resamples`` is 0, ``<name>_sd`` if there are several retrievals.

    Args:
        retrievals: One, or one a draw of a single-shot gallery, or one a pair; a metric is the mean over them.
        resamples: Bootstrap samples.
        seed: Of the bootstrap.

    Raises:
        InputError: No query has a good item.
    """
    valid = np.stack([retrieval.valid for retrieval in retrievals])
    if not valid.any(axis=1).all():
        raise InputError("no query has a good gallery item under this protocol: nothing can be scored")
    values = np.stack([[query_values(retrieval)[name] for name in METRICS] for retrieval in retrievals])
    by_draw = np.stack([draw[:, counted].mean(axis=1) for draw, counted in zip(values, valid, strict=True)])
    summary: dict[str, Any] = {name: _percent(by_draw[:, index].mean()) for index, name in enumerate(METRICS)}
    if len(retrievals) > 1:
        summary |= {f"{name}_sd": _percent(by_draw[:, index].std(ddof=1)) for index, name in enumerate(METRICS)}
    if resamples:
        intervals = bootstrap_intervals(values, valid, retrievals[0].person_id, resamples, seed)
        summary |= {
            f"{name}_interval": [_percent(low), _percent(high)]
            for name, (low, high) in zip(METRICS, intervals, strict=True)
        }
    return summary


def _draw_single_shot(gallery: FeatureSet, generator: np.random.Generator) -> FeatureSet:
    """One random image of each identity, in the order of the gallery."""
    shuffled = generator.permutation(len(gallery))
    _, first = np.unique(gallery.person_id[shuffled], return_index=True)
    return gallery.take(np.sort(shuffled[first]))


def _galleries(gallery: FeatureSet, protocol: Protocol, seed: int) -> list[FeatureSet]:
    if not protocol.single_shot:
        return [gallery]
    return [_draw_single_shot(gallery, np.random.default_rng([seed, draw])) for draw in range(SINGLE_SHOT_DRAWS)]


def evaluate_selected(
    query: FeatureSet,
    gallery: FeatureSet,
    protocol: Protocol,
    resamples: int = 1000,
    seed: int = 0,
    *,
    reranking: RerankSettings | None = None,
    depth: int = 0,
    threads: int | None = None,
    quiet: bool = True,
) -> tuple[dict[str, Any], list[Retrieval]]:
    """Score queries and gallery under a protocol.

    Args:
        query: As :func:`pipeline.evaluation.protocols.select` gives it.
        gallery: Likewise.
        protocol: See :mod:`pipeline.evaluation.protocols`.
        resamples: Bootstrap samples for the intervals; 0 leaves them out.
        seed: Of the bootstrap and of single-shot draws.
        reranking: Rank by the re-ranked distance instead of the cosine; the entry says so.
        depth: How many of the best items of each query are kept.
        threads: Threads that rank; None: torch's number.
        quiet: No progress line, which large sets have otherwise.

    Returns:
        The protocol's entry of metrics.json, and the results of the queries: one, or one a draw for single-shot.

    Raises:
        InputError: No query has a good item; the message says why. Or see :func:`reranked_blocks`.
    """
    if not has_good_items(query, gallery, protocol):  # said before hours of ranking
        raise InputError(f"protocol {protocol.name}: {why_no_good_items(query, gallery, protocol)}")
    galleries = _galleries(gallery, protocol, seed)
    retrievals: list[Retrieval] = []
    pairs: list[Retrieval] = []
    quiet = quiet or len(query) * sum(map(len, galleries)) < MANY_PAIRS
    with Progress(len(query) * len(galleries), f"rank {protocol.name}", "image", quiet) as progress:
        if protocol.paired:
            whole, pairs = score_pairs(
                query,
                gallery,
                protocol,
                threads=threads,
                depth=depth,
                reranking=reranking,
                advance=progress.advance,
            )
            retrievals.append(whole)
        for drawn in () if protocol.paired else galleries:
            blocks = None if reranking is None else reranked_blocks(query.features, drawn.features, reranking)
            retrievals.append(
                score(query, drawn, protocol, threads, depth=depth, blocks=blocks, advance=progress.advance)
            )
    entry: dict[str, Any] = {
        "name": protocol.name,
        "meaning": protocol.meaning,
        "distance": "negative cosine",
        "dimension": int(query.features.shape[1]),
        "n_query": len(query),
        "n_gallery": len(galleries[0]),
        "n_skipped": max(int((~retrieval.valid).sum()) for retrieval in retrievals),
    }
    if protocol.single_shot:
        entry["draws"] = len(retrievals)
    if protocol.paired:
        entry["pairs"] = len(pairs)
    if reranking is not None:
        entry |= {
            "meaning": f"{protocol.meaning}; re-ranked",
            "distance": "k-reciprocal re-ranking of the cosine (Zhong et al. 2017)",
            "reranking": reranking.described(),
        }
    try:
        return entry | summarise(pairs or retrievals, resamples, seed), retrievals
    except InputError as error:
        raise InputError(f"protocol {protocol.name}: {error}") from None


def evaluate(
    features: FeatureSet, protocol: Protocol, resamples: int = 1000, seed: int = 0
) -> tuple[dict[str, Any], list[Retrieval]]:
    """Score a set of all rows, of which the protocol chooses queries and gallery by role.

    Raises:
        InputError: See :func:`select` and :func:`summarise`.
    """
    return evaluate_selected(*select(features, protocol), protocol, resamples, seed)
