"""The regression of the probes against a direct minimisation in the original coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import WorkError
from pipeline.evaluation.leakage import logistic
from pipeline.evaluation.leakage.logistic import deviation_of, fit, make_coordinates, predict


def sample(count, dimension, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    rows = rng.standard_normal((classes, dimension))[labels] + rng.standard_normal((count, dimension)) * 1.5
    return (rows * rng.uniform(0.01, 10, dimension) + rng.normal(0, 3, dimension)).astype(np.float32), labels


def direct_probabilities(rows, labels, others, l2):
    """Class probabilities of other rows after minimising the loss over W and b as the module's first lines have it."""
    mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    deviation[deviation == 0] = 1
    inputs, tested = (torch.from_numpy((part - mean) / deviation) for part in (rows, others))
    truth = torch.from_numpy(labels)
    weight = torch.zeros(rows.shape[1], labels.max() + 1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(labels.max() + 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=3000, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        solver.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs @ weight + bias, truth) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    return torch.softmax(tested @ weight + bias, dim=1).detach().numpy()


def probabilities(rows, labels, others, l2):
    coordinates = make_coordinates(rows, l2)
    scores = coordinates.of(others) @ fit(coordinates.of(rows), labels, coordinates.penalty)
    return torch.softmax(torch.from_numpy(scores), dim=1).numpy()


@pytest.mark.parametrize(("count", "dimension"), [(60, 8), (12, 30), (20, 20)])
@pytest.mark.parametrize("l2", [0.01, 1.0])
def test_the_minimum_is_that_of_a_direct_solver(count, dimension, l2):
    (rows, labels), (others, _) = sample(count, dimension, 3), sample(9, dimension, 3, seed=1)
    expected = direct_probabilities(rows, labels, others, l2)
    np.testing.assert_allclose(probabilities(rows, labels, others, l2), expected, atol=2e-4)


def test_a_constant_column_changes_nothing():
    (rows, labels), (others, _) = sample(30, 5, 3), sample(9, 5, 3, seed=1)
    constant = np.full((30, 1), 7, np.float32), np.full((9, 1), 8, np.float32)
    wider = np.concatenate([rows, constant[0]], 1), np.concatenate([others, constant[1]], 1)
    plain, more = probabilities(rows, labels, others, 0.1), probabilities(wider[0], labels, wider[1], 0.1)
    np.testing.assert_allclose(plain, more, atol=1e-5)


def test_coordinates_of_all_rows_serve_a_part_of_them():
    rows, labels = sample(40, 6, 2)
    part = np.arange(40) % 3 > 0
    coordinates = make_coordinates(rows, 0.05)
    inputs = coordinates.of(rows)
    weights = fit(inputs[part], labels[part], coordinates.penalty)
    standard = torch.from_numpy((rows - rows.mean(0, dtype=np.float64)) / rows.std(0, dtype=np.float64))
    slopes = (coordinates.projection * deviation_of(rows)[:, None]) @ weights[:-1]

    def loss(moved):
        scores = standard[part] @ torch.from_numpy(moved) + torch.from_numpy(weights[-1] * np.sqrt(2))
        cross = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels[part]))
        return float(cross) + 0.05 / 2 * float(np.square(moved).sum())

    rng = np.random.default_rng(0)
    best = loss(slopes)
    assert all(loss(slopes + rng.normal(0, 0.05, slopes.shape)) > best for _ in range(30))


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(3, 25), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_the_gradient_vanishes_whatever_the_shape(seed, classes, count, dimension):
    rows, labels = sample(max(count, classes), dimension, classes, seed)
    coordinates = make_coordinates(rows, 0.01)
    inputs = coordinates.of(rows)
    weights = fit(inputs, labels, coordinates.penalty)
    scores = np.exp(inputs @ weights - (inputs @ weights).max(1, keepdims=True))
    residual = scores / scores.sum(1, keepdims=True) - np.eye(classes)[labels]
    gradient = inputs.T @ residual / len(labels) + coordinates.penalty[:, None] * weights
    assert np.abs(gradient).max() < 1e-6


def test_labels_are_any_numbers_and_absent_ones_are_never_said():
    rows, labels = sample(60, 4, 3)
    names = np.array([5, 1001, 40])[labels]
    coordinates = make_coordinates(rows, 0.01)
    inputs = coordinates.of(rows)
    said = predict(inputs, names, inputs, coordinates.penalty)
    assert set(said) <= {5, 40, 1001}
    assert (said == names).mean() > 0.6
    assert set(predict(inputs[:3], np.full(3, 9), inputs, coordinates.penalty)) == {9}


def test_a_minimum_that_is_not_reached_is_an_error(monkeypatch):
    monkeypatch.setattr(logistic, "MAX_STEPS", 2)
    rows, labels = sample(30, 5, 3)
    coordinates = make_coordinates(rows, 0.01)
    with pytest.raises(WorkError, match=r"raise leakage\.penalty"):
        fit(coordinates.of(rows), labels, coordinates.penalty)
