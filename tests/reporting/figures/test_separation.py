"""Separation of two sets of distances, against plain loops and formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.figures.separation import separation, spread

SOME = st.lists(st.integers(0, 12), min_size=1, max_size=12).map(lambda values: np.float32(values) / 8)


@given(near=SOME, far=SOME)
def test_auc_is_the_share_of_pairs_in_the_right_order_and_ties_are_half(near, far):
    wins = sum(1.0 if n < f else 0.5 if n == f else 0.0 for n in near.tolist() for f in far.tolist())
    assert separation(near, far).auc == pytest.approx(wins / (len(near) * len(far)))


@given(near=SOME, far=SOME)
def test_d_prime_is_the_difference_of_means_in_pooled_standard_deviations(near, far):
    def moments(values):
        mean = sum(values) / len(values)
        return mean, sum((value - mean) ** 2 for value in values) / len(values)

    (one, var_one), (other, var_other) = moments(near.tolist()), moments(far.tolist())
    found = separation(near, far).d_prime
    if var_one + var_other == 0:
        assert found is None
    else:
        assert found == pytest.approx((other - one) / math.sqrt((var_one + var_other) / 2))


@given(near=SOME, far=SOME)
def test_overlap_is_the_common_area_of_100_bins(near, far):
    low, high = min(near.min(), far.min()), max(near.max(), far.max())
    if low == high:
        assert separation(near, far).overlap == 1
        return
    edges = [float(low) + (float(high) - float(low)) * step / 100 for step in range(101)]

    def share(values, number):
        last = number == 99
        inside = [v for v in values.tolist() if edges[number] <= v and (v < edges[number + 1] or last)]
        return len(inside) / len(values)

    common = sum(min(share(near, number), share(far, number)) for number in range(100))
    assert separation(near, far).overlap == pytest.approx(common, abs=0.3 / min(len(near), len(far)) + 1e-9)
    assert separation(near, near).overlap == pytest.approx(1)


def test_sets_apart_have_no_overlap_and_known_values():
    found = separation(np.float32([0, 0.1, 0.2]), np.float32([1, 1.1, 1.2]))
    assert found.auc == 1
    assert found.overlap == 0
    assert found.d_prime == pytest.approx(1 / np.std([0, 0.1, 0.2]), rel=1e-5)


def test_spread_has_the_quantiles():
    found = spread(np.arange(101, dtype=np.float32))
    assert (found.count, found.mean, found.low, found.median, found.high) == (101, 50, 5, 50, 95)
    assert found.sd == pytest.approx(np.arange(101).std())
