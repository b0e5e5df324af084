"""All leakage figures of one set of features, as ``leakage.json`` holds them: in percent, each with n and chance."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.leakage.probes import NOT_APPLICABLE, ProbeScore, probe_factors
from pipeline.evaluation.leakage.retrieval import retrieve_same_value
from pipeline.evaluation.leakage.settings import LeakageSettings
from pipeline.evaluation.leakage.within_identity import WithinScore, probe_within_identities
from pipeline.features.feature_set import NO_ID, FeatureSet, Integers

UNTESTED_ROLES: Final = ("train", "val")
_SHARES: Final = ("accuracy", "chance", "balanced_accuracy", "balanced_chance", "standard_error")


@dataclass(frozen=True)
class Factors:
    """What is known of each image beside its ids.

    Attributes:
        clothes: Value of each factor of the outfit by name, (N,).
        identity: Value of each factor of the person by name, (N,).
        headline: The clothes factor that stands for all.
        garments: By name the clothes factors whose values together make a garment, for retrieval.
    """

    clothes: Mapping[str, Integers]
    identity: Mapping[str, Integers]
    headline: str
    garments: Mapping[str, Sequence[str]]


def _percent(score: ProbeScore | WithinScore) -> dict[str, Any]:
    return {name: round(100 * value, 4) if name in _SHARES else value for name, value in asdict(score).items()}


def _mean(scores: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Mean over factors; n is the number of predictions of all of them together."""
    if not scores:
        return None
    means = {name: round(float(np.mean([score[name] for score in scores.values()])), 4) for name in _SHARES[:4]}
    return {**means, "n": sum(score["n"] for score in scores.values()), "factors": len(scores)}


def combine_values(factors: Sequence[Integers]) -> Integers:
    """One number for each combination of values; ``NOT_APPLICABLE`` where any of them is, (N,)."""
    stacked = np.stack(list(factors), axis=1)
    combined = np.unique(stacked, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    combined[(stacked == NOT_APPLICABLE).any(axis=1)] = NOT_APPLICABLE
    return combined


def _probes(
    items: FeatureSet, factors: Factors, settings: LeakageSettings, seed: int
) -> tuple[dict[str, Any], dict[str, str]]:
    every = {**factors.clothes, **factors.identity}
    scores, left_out = probe_factors(
        items.features, items.person_id, every, folds=settings.folds, l2=settings.penalty, seed=seed
    )
    groups: dict[str, Any] = {
        kind: {name: _percent(scores[name]) for name in names if name in scores}
        for kind, names in (("clothes", factors.clothes), ("identity", factors.identity))
    }
    return groups, left_out


def _retrieval(items: FeatureSet, factors: Factors) -> tuple[dict[str, Any], dict[str, str]]:
    found, left_out = {}, {}
    for name, parts in factors.garments.items():
        values = combine_values([factors.clothes[part] for part in parts])
        result = retrieve_same_value(items.features, items.person_id, values)
        if result is None:
            left_out[name] = "no two people share a value"
        else:
            found[name] = {
                "mAP": round(100 * result.mean_ap, 4),
                "chance": round(100 * result.chance, 4),
                "n": result.n,
                "images": result.images,
            }
    return found, left_out


def tested_items(items: FeatureSet) -> FeatureSet:
    """The rows that are not of the training or validation split.

    Raises:
        InputError: There is none.
    """
    tested = items.take(~np.isin(items.role, UNTESTED_ROLES))
    if not len(tested):
        raise InputError("leakage is measured on test images, but the features have only train, val and nobody")
    return tested


def measure_leakage(items: FeatureSet, factors: Factors | None, settings: LeakageSettings, seed: int) -> dict[str, Any]:
    """Measure what the features of test images tell.

    Args:
        items: Features of test images.
        factors: Of the same rows; None for a data set that has none: then only outfits within identities are probed.
        settings: Of the probes.
        seed: Of folds and draws.

    Returns:
        ``headline`` (a few figures), ``probes`` by kind and factor, ``retrieval``, ``within_identity``, ``left_out``
        (why a figure is missing), and counts.

    Raises:
        InputError: There is nothing that can be measured, or there are fewer people than folds.
        WorkError: A regression did not reach its minimum.
    """
    people, folds = len(np.unique(items.person_id)), settings.folds
    headline: dict[str, Any] = {}
    result: dict[str, Any] = {"images": len(items), "people": people, "dimension": items.features.shape[1]}
    left_out: dict[str, str] = {}
    if factors is not None:
        if people < folds:
            raise InputError(f"probes with {folds} folds by person need {folds} people, but the features have {people}")
        probes, unprobed = _probes(items, factors, settings, seed)
        retrieval, unsearched = _retrieval(items, factors)
        result |= {"probes": probes, "retrieval": retrieval}
        left_out |= unprobed | unsearched
        headline[factors.headline] = probes["clothes"].get(factors.headline)
        headline |= {kind: _mean(scores) for kind, scores in probes.items()}
        headline |= {f"retrieval_{name}": entry for name, entry in retrieval.items()}
    if (items.clothes_id != NO_ID).any():
        overall, schemes = probe_within_identities(items, settings, seed)
        if overall is None:
            left_out["within_identity"] = "nobody has two outfits with two images each"
        else:
            headline["within_identity"] = _percent(overall)
            result["within_identity"] = {
                **_percent(overall), **{scheme: _percent(score) for scheme, score in schemes.items()}
            }  # fmt: skip
    else:
        left_out["within_identity"] = "the images have no clothes ids"
    headline = {name: entry for name, entry in headline.items() if entry is not None}
    if not headline:
        raise InputError(f"leakage cannot be measured: {'; '.join(left_out.values())}")
    return {**result, "headline": headline, "left_out": left_out}
