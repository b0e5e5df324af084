"""What a random ranking reaches."""

import numpy as np
from numpy.typing import NDArray

from pipeline.features.feature_set import Integers


def harmonic_numbers(largest: int) -> NDArray[np.float64]:
    """1 + 1/2 + ... + 1/n for n from 0 to ``largest``."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, largest + 1))])


def expected_average_precision(good: Integers, kept: Integers | int) -> NDArray[np.float64]:
    """Expected AP of a random order of ``kept`` items, ``good`` of which are good.

    A good item at rank r has a precision of (1 + (r - 1) (good - 1) / (kept - 1)) / r in expectation, and every rank is
    as likely.

    Args:
        good: Of each query, at least 1, (Q,).
        kept: Items that are ranked, of each query (Q,) or of all.
    """
    items = np.broadcast_to(np.asarray(kept, dtype=np.int64), good.shape)
    all_ranks = harmonic_numbers(int(items.max(initial=0)))[items]
    return (all_ranks + (good - 1) / np.maximum(items - 1, 1) * (items - all_ranks)) / items
