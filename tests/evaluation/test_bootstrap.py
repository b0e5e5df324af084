"""Bootstrap intervals against a loop that draws identities and averages their queries."""

import numpy as np
import pytest

from pipeline.evaluation.bootstrap import bootstrap_intervals


def naive(values, valid, person_id, resamples, seed):
    """The same samples, put together query by query."""
    persons = sorted({int(p) for p, used in zip(person_id, valid.any(axis=0), strict=True) if used})
    drawn = np.random.default_rng(seed).integers(len(persons), size=(resamples, len(persons)))
    samples = []
    for sample in drawn:
        per_draw = []
        for draw in range(len(values)):
            rows = [q for i in sample for q in np.flatnonzero((person_id == persons[i]) & valid[draw])]
            if rows:
                per_draw.append(values[draw][:, rows].mean(axis=1))
        samples.append(np.mean(per_draw, axis=0))
    return np.quantile(samples, [0.025, 0.975], axis=0).T


@pytest.mark.parametrize("draws", [1, 3])
def test_equal_to_the_loop(draws):
    rng = np.random.default_rng(draws)
    person = rng.integers(-3, 8, 40)
    values, valid = rng.random((draws, 2, 40)), rng.random((draws, 40)) < 0.8
    valid[:, person == 0] = False  # an identity that never counts
    valid[:, :20] = True
    found = bootstrap_intervals(values, valid, person, 150, 5)
    np.testing.assert_allclose(found, naive(values, valid, person, 150, 5), atol=1e-12)


def test_draws_of_which_a_sample_has_no_query_are_left_out_of_its_mean():
    rng = np.random.default_rng(7)
    person = np.repeat(np.arange(6), 4)
    values = 1 + rng.random((3, 2, 24))
    valid = np.zeros((3, 24), dtype=bool)
    for draw, first in enumerate((0, 8, 16)):  # each draw has two of the six identities
        valid[draw, first : first + 8] = True
    found = bootstrap_intervals(values, valid, person, 150, 5)
    np.testing.assert_allclose(found, naive(values, valid, person, 150, 5), atol=1e-12)
    assert found.min() > 1


def test_equal_values_have_no_spread_and_spread_ones_have_the_textbook_error():
    persons = np.repeat(np.arange(30), 3)
    counted = np.ones((1, 90), dtype=bool)
    equal = bootstrap_intervals(np.full((1, 1, 90), 0.25), counted, persons, 200, 0)
    np.testing.assert_allclose(equal, [[0.25, 0.25]])
    values = np.repeat(np.random.default_rng(0).random(30), 3)  # one person's queries agree: 30 observations, not 90
    low, high = bootstrap_intervals(values[None, None], counted, persons, 4000, 0)[0]
    error = values.reshape(30, 3)[:, 0].std() / np.sqrt(30)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.01)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.01)


def test_more_samples_than_fit_at_once_go_on_with_the_same_generator():
    rng = np.random.default_rng(2)
    person, values = np.arange(12) // 2, rng.random((1, 1, 12))
    counted = np.ones((1, 12), dtype=bool)
    assert bootstrap_intervals(values, counted, person, 501, 3).shape == (1, 2)
    np.testing.assert_array_equal(
        bootstrap_intervals(values, counted, person, 501, 3), bootstrap_intervals(values, counted, person, 501, 3)
    )
