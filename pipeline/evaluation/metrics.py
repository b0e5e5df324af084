"""CMC, mAP and mINP with bootstrap intervals over query identities; means over the draws of single-shot protocols."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.protocols import SINGLE_SHOT_DRAWS, Protocol, select
from pipeline.evaluation.ranking import Retrieval, score

CMC_RANKS = (1, 5, 10, 20)
CONFIDENCE = 0.95

Values = NDArray[np.float64]


def query_values(retrieval: Retrieval) -> Mapping[str, Values]:
    """Each metric's value of every query that is not skipped, in [0, 1]; the metric is their mean."""
    valid = retrieval.valid
    first = retrieval.first_rank[valid]
    values: dict[str, Values] = {f"rank{rank}": (first <= rank).astype(np.float64) for rank in CMC_RANKS}
    values["mAP"] = retrieval.average_precision[valid]
    values["mINP"] = retrieval.inverse_negative_penalty[valid]
    return values


def bootstrap_interval(values: Values, person_id: NDArray[np.int64], resamples: int, seed: int) -> tuple[float, float]:
    """95% percentile interval of the mean over queries, by resampling query identities with replacement.

    Args:
        values: One a query, (Q,).
        person_id: Identity of each query, (Q,).
        resamples: Number of bootstrap samples.
        seed: Of the resampling.
    """
    identities, members = np.unique(person_id, return_inverse=True)
    sums = np.bincount(members, weights=values)
    counts = np.bincount(members).astype(np.float64)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(identities), np.full(len(identities), 1 / len(identities)), size=resamples)
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _percent(value: float) -> float:
    return round(100.0 * value, 4)


def summarise(retrieval: Retrieval, resamples: int, seed: int) -> dict[str, Any]:
    """Metrics in percent, each with its interval as ``<name>_interval`` (absent with ``resamples`` 0).

    Raises:
        InputError: No query has a good item.
    """
    valid = retrieval.valid
    if not valid.any():
        raise InputError("no query has a good gallery item under this protocol: nothing can be scored")
    summary: dict[str, Any] = {}
    for name, values in query_values(retrieval).items():
        summary[name] = _percent(float(values.mean()))
        if resamples:
            low, high = bootstrap_interval(values, retrieval.person_id[valid], resamples, seed)
            summary[f"{name}_interval"] = [_percent(low), _percent(high)]
    return summary


def _draw_single_shot(gallery: FeatureSet, generator: np.random.Generator) -> FeatureSet:
    """One random image of each identity, in the order of the gallery."""
    shuffled = generator.permutation(len(gallery))
    _, first = np.unique(gallery.person_id[shuffled], return_index=True)
    return gallery.take(np.sort(shuffled[first]))


def _score_single_shot(query: FeatureSet, gallery: FeatureSet, protocol: Protocol, seed: int) -> dict[str, Any]:
    draws = []
    skipped = set()
    for draw in range(SINGLE_SHOT_DRAWS):
        chosen = _draw_single_shot(gallery, np.random.default_rng([seed, draw]))
        retrieval = score(query, chosen, protocol)
        skipped.add(int((~retrieval.valid).sum()))
        draws.append(summarise(retrieval, 0, seed))
    summary: dict[str, Any] = {"draws": SINGLE_SHOT_DRAWS, "n_gallery": len(chosen), "n_skipped": max(skipped)}
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws])
        summary[name] = round(float(values.mean()), 4)
        summary[f"{name}_sd"] = round(float(values.std(ddof=1)), 4)
    return summary


def evaluate(
    features: FeatureSet, protocol: Protocol, resamples: int = 1000, seed: int = 0
) -> tuple[dict[str, Any], Retrieval | None]:
    """Score features under a protocol.

    Args:
        features: All rows; the protocol chooses queries and gallery by role.
        protocol: See :mod:`pipeline.evaluation.protocols`.
        resamples: Bootstrap samples for the intervals; 0 leaves them out.
        seed: Of the bootstrap and of single-shot draws.

    Returns:
        The protocol's entry of metrics.json, and the per-query results (None for single-shot).

    Raises:
        InputError: See :func:`select` and :func:`summarise`.
    """
    query, gallery = select(features, protocol)
    entry: dict[str, Any] = {
        "name": protocol.name,
        "meaning": protocol.meaning,
        "distance": "negative cosine",
        "dimension": int(query.features.shape[1]),
        "n_query": len(query),
        "n_gallery": len(gallery),
    }
    if protocol.single_shot:
        return {**entry, **_score_single_shot(query, gallery, protocol, seed)}, None
    retrieval = score(query, gallery, protocol)
    entry["n_skipped"] = int((~retrieval.valid).sum())
    return {**entry, **summarise(retrieval, resamples, seed)}, replace(retrieval)
