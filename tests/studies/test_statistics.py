"""Statistics against published values, the density integrated by hand, and Python's own module."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.studies.statistics import (
    deviation_of,
    mean_of,
    paired_difference,
    spread_of,
    student_distribution,
    student_quantile,
)

TWO_SIDED_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 9: 2.262, 10: 2.228, 30: 2.042, 120: 1.980}
"""Of any printed table of Student's t."""


@pytest.mark.parametrize(("freedom", "value"), TWO_SIDED_95.items())
def test_quantiles_are_those_of_the_printed_table(freedom, value):
    assert student_quantile(0.975, freedom) == pytest.approx(value, abs=5e-4)
    assert student_quantile(0.025, freedom) == pytest.approx(-value, abs=5e-4)


@given(st.floats(-8, 8), st.integers(1, 40))
def test_the_distribution_is_the_integral_of_the_density(t, freedom):
    constant = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    steps = 2000
    width = t / steps
    heights = [constant * (1 + (number * width) ** 2 / freedom) ** (-(freedom + 1) / 2) for number in range(steps + 1)]
    simpson = width / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))
    assert student_distribution(t, freedom) == pytest.approx(0.5 + simpson, abs=1e-9)


@given(st.floats(0.001, 0.999), st.integers(1, 60))
def test_a_quantile_has_its_probability(probability, freedom):
    assert student_distribution(student_quantile(probability, freedom), freedom) == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.5])
def test_what_is_no_probability_is_refused(probability):
    with pytest.raises(ValueError, match="probability"):
        student_quantile(probability, 3)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=10))
def test_mean_and_deviation_are_those_of_the_standard_library(values):
    assert mean_of(values) == pytest.approx(statistics.fmean(values))
    assert deviation_of(values) == pytest.approx(statistics.stdev(values), abs=1e-9)
    spread = spread_of(dict(enumerate(values)))
    assert spread.error == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)), abs=1e-9)


def test_one_value_has_no_deviation_and_no_interval():
    spread = spread_of({3: 12.0})
    assert (spread.mean, spread.deviation, spread.error) == (12.0, None, None)
    found = paired_difference({3: 12.0}, {3: 10.0})
    assert (found.mean, found.low, found.high, found.clear) == (2.0, None, None, False)


def test_differences_are_of_the_seeds_that_both_have():
    found = paired_difference({0: 10.0, 1: 14.0, 2: 13.0, 7: 99.0}, {0: 8.0, 1: 11.0, 2: 12.0, 9: 0.0})
    assert found.values == {0: 2.0, 1: 3.0, 2: 1.0}
    half = 4.302653 * 1.0 / math.sqrt(3)  # the differences' deviation is 1
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0 - half, 2.0 + half), abs=1e-5)
    assert not found.clear
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_pairing_finds_what_the_seeds_hide():
    """Seeds differ by 20 points, the methods by 3 on each."""
    reference = {0: 10.0, 1: 20.0, 2: 30.0, 3: 15.0, 4: 25.0}
    method = {seed: value + 3 + 0.1 * seed for seed, value in reference.items()}
    found = paired_difference(method, reference)
    assert found.clear
    assert found.low < 3.2 < found.high
