"""Bootstrap intervals over query identities: the images of one person are not independent of each other."""

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
SAMPLES_AT_ONCE = 200

Values = NDArray[np.float64]


def _product(left: Values, right: Values) -> Values:
    """Matrix product by one thread, for the last bits of a library's product may depend on how many share it."""
    result: Values = np.einsum("st,tk->sk", left, right)
    return result


def bootstrap_intervals(
    values: Values, valid: NDArray[np.bool_], person_id: NDArray[np.int64], resamples: int, seed: int
) -> Values:
    """Percentile intervals of the mean over valid queries, by resampling query identities with replacement.

    An identity that is drawn brings all its queries. All metrics see the same samples. With several draws of a gallery
    a sample's value is the mean over the draws of which it has a query.

    Args:
        values: Of every query, (draws, metrics, Q); those of invalid queries are ignored.
        valid: Queries that count, (draws, Q).
        person_id: Identity of each query, (Q,).
        resamples: Number of bootstrap samples.
        seed: Of the resampling.

    Returns:
        Lower and upper end of the 95% interval of each metric, (metrics, 2).
    """
    used = valid.any(axis=0)
    identities, members = np.unique(person_id[used], return_inverse=True)
    total, draws, metrics = len(identities), len(values), values.shape[1]
    sums = np.zeros((total, draws, metrics))
    counts = np.zeros((total, draws))
    for draw in range(draws):
        counts[:, draw] = np.bincount(members, weights=valid[draw, used], minlength=total)
        for metric in range(metrics):
            counted = values[draw, metric, used] * valid[draw, used]
            sums[:, draw, metric] = np.bincount(members, weights=counted, minlength=total)
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, metrics))
    for start in range(0, resamples, SAMPLES_AT_ONCE):
        size = min(SAMPLES_AT_ONCE, resamples - start)
        drawn = generator.integers(total, size=(size, total))
        offsets = np.arange(size)[:, None] * total
        weights = np.bincount((drawn + offsets).ravel(), minlength=size * total).reshape(size, total).astype(np.float64)
        sampled_counts = _product(weights, counts)
        denominators = np.maximum(sampled_counts, 1)
        sampled = _product(weights, sums.reshape(total, -1)).reshape(size, draws, metrics) / denominators[:, :, None]
        present = np.maximum(np.count_nonzero(sampled_counts, axis=1), 1)
        means[start : start + size] = sampled.sum(axis=1) / present[:, None]
    tail = (1 - CONFIDENCE) / 2
    intervals: Values = np.quantile(means, [tail, 1 - tail], axis=0).T
    return intervals
