"""Retrieval by clothes against plain loops; chance against random orders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import similarity
from pipeline.evaluation.chance import expected_average_precision
from pipeline.evaluation.features import normalise_rows
from pipeline.evaluation.leakage.retrieval import retrieve_same_value


def average_precision(order, good):
    found, total = 0, 0.0
    for rank, item in enumerate(order, start=1):
        if good[item]:
            found += 1
            total += found / rank
    return total / found


def plain_loop(features, person, values):
    result = []
    for query in range(len(features)):
        if values[query] == -1:
            continue
        others = [i for i in range(len(features)) if person[i] != person[query] and values[i] != -1]
        good = {i: values[i] == values[query] for i in others}
        if any(good.values()):
            order = sorted(others, key=lambda i: (-float(features[query] @ features[i]), i))
            result.append(average_precision(order, good))
    return np.mean(result), len(result)


@pytest.mark.parametrize("at_once", [7, 192])
def test_map_is_that_of_a_plain_loop(at_once, monkeypatch):
    monkeypatch.setattr(similarity, "block_rows", lambda items: at_once)
    rng = np.random.default_rng(0)
    features = normalise_rows(rng.standard_normal((60, 8)).astype(np.float32))
    person, values = rng.integers(0, 9, 60), rng.integers(-1, 6, 60)
    values[0] = 99  # nobody else wears it
    found = retrieve_same_value(features, person, values)
    assert found is not None
    expected, queries = plain_loop(features, person, values)
    assert found.mean_ap == pytest.approx(expected, rel=1e-6)
    assert (found.n, found.images) == (queries, int((values != -1).sum()))


def test_own_images_count_neither_as_good_nor_as_wrong():
    features = np.eye(4, dtype=np.float32)[[0, 0, 0, 1]]
    found = retrieve_same_value(features, np.array([1, 1, 2, 3]), np.array([5, 5, 5, 6]))
    assert found is not None
    assert (found.mean_ap, found.n) == (1.0, 3)
    assert retrieve_same_value(features, np.zeros(4, dtype=np.int64), np.full(4, 5)) is None


@given(st.integers(1, 12), st.integers(0, 30))
def test_the_expected_precision_is_the_mean_over_all_places_of_the_good(good, others):
    rng = np.random.default_rng(good * 100 + others)
    labels = np.arange(good + others) < good
    drawn = [average_precision(range(len(labels)), rng.permutation(labels)) for _ in range(400)]
    expected = expected_average_precision(np.array([good]), good + others)[0]
    assert abs(expected - np.mean(drawn)) < 5 * np.std(drawn) / 20 + 1e-9


def test_chance_is_what_random_features_reach():
    rng = np.random.default_rng(1)
    person, values = rng.integers(0, 60, 600), rng.integers(0, 8, 600)
    features = normalise_rows(rng.standard_normal((600, 64)).astype(np.float32))
    found = retrieve_same_value(features, person, values)
    assert found is not None
    assert found.mean_ap == pytest.approx(found.chance, abs=0.004)
    assert found.chance == pytest.approx(1 / 8, abs=0.02)
