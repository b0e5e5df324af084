"""How far two sets of distances lie apart: area under the ROC curve, d-prime, and the overlap of their histograms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Distances = NDArray[np.float32]

OVERLAP_BINS = 100


@dataclass(frozen=True)
class Spread:
    """One set of distances.

    Attributes:
        count: Pairs.
        mean: Of their distances.
        sd: Standard deviation.
        low: The 5% quantile.
        median: The 50% quantile.
        high: The 95% quantile.
    """

    count: int
    mean: float
    sd: float
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Separation:
    """How two sets of distances lie to each other.

    Attributes:
        auc: Chance that a near pair drawn at random is nearer than a far one; equal distances count as half. 0.5: they
            are not told apart; 1: every near pair is nearer than every far one.
        d_prime: (mean of the far - mean of the near) / root of the mean of the two variances; None where both are 0.
        overlap: Area that the two normalised histograms share, in [0, 1], with 100 equal bins from the smallest to the
            largest distance of either.
    """

    auc: float
    d_prime: float | None
    overlap: float


def spread(distances: Distances) -> Spread:
    """Summary of some distances, (N,), N > 0."""
    values = distances.astype(np.float64)
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
    return Spread(len(values), float(values.mean()), float(values.std()), low, median, high)


def _auc(near: Distances, far: Distances) -> float:
    """Mann-Whitney U of (near < far) by sorting: of each far distance, how many near ones are smaller, and equal."""
    ordered = np.sort(near)
    smaller = np.searchsorted(ordered, far, side="left").astype(np.float64)
    not_larger = np.searchsorted(ordered, far, side="right").astype(np.float64)
    return float((smaller + not_larger).mean() / (2 * len(near)))


def _d_prime(near: Distances, far: Distances) -> float | None:
    one, other = near.astype(np.float64), far.astype(np.float64)
    variance = (one.var() + other.var()) / 2
    return None if variance == 0 else float((other.mean() - one.mean()) / np.sqrt(variance))


def _overlap(near: Distances, far: Distances) -> float:
    low, high = min(near.min(), far.min()), max(near.max(), far.max())
    if low == high:
        return 1.0
    edges = np.linspace(low, high, OVERLAP_BINS + 1, dtype=np.float64)
    shares = [np.histogram(values.astype(np.float64), edges)[0] / len(values) for values in (near, far)]
    return float(np.minimum(*shares).sum())


def separation(near: Distances, far: Distances) -> Separation:
    """Compare distances that should be small, (N,), with such that should be large, (M,); both have at least one."""
    return Separation(_auc(near, far), _d_prime(near, far), _overlap(near, far))
