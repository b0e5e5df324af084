"""Multinomial logistic regression with an L2 penalty: full batch, float64, deterministic, the one minimum.

Minimised is the mean cross-entropy of softmax(x W + b) plus l2 / 2 times the sum of squares of W; b is free. x are
features standardised with the mean and deviation of the training rows. The solver works in coordinates in which an
upper bound of the loss's curvature (Boehning 1992) is the identity, so that a few dozen steps of L-BFGS reach the
minimum; these coordinates do not change where it is, and one set of them serves all labels of the same rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import WorkError

HISTORY: Final = 10
MAX_STEPS: Final = 1000
TOLERANCE: Final = 1e-6
"""Largest entry of the gradient, in the solver's coordinates, at which the minimum counts as reached."""
_RANK: Final = 1e-10
_CONSTANT: Final = 1e-6
_SUFFICIENT: Final = 1e-4
_SMALLEST_STEP: Final = 2.0**-30

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Coordinates:
    """The solver's coordinates, made from training rows.

    Attributes:
        mean: Of the training rows, (D,).
        projection: From rows less their mean to coordinates; the deviation is part of it, (D, R).
        penalty: L2 penalty of each coordinate, and 0 for the constant that is the last, (R + 1,).
    """

    mean: Matrix
    projection: Matrix
    penalty: Matrix

    def of(self, rows: NDArray[np.floating]) -> Matrix:
        """Coordinates of some rows, the constant behind them: (N, D) -> (N, R + 1)."""
        inner = product(rows - self.mean, self.projection)
        return np.concatenate([inner, np.full((len(rows), 1), np.sqrt(2.0))], axis=1)


def product(left: Matrix, right: Matrix) -> Matrix:
    """Matrix product by torch, which keeps to its number of threads; numpy's own threads spin beside other work."""
    result: Matrix = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return result


def _eigen(matrix: Matrix) -> tuple[Matrix, Matrix]:
    values, vectors = torch.linalg.eigh(torch.from_numpy(matrix))
    return values.numpy(), vectors.numpy()


def deviation_of(rows: NDArray[np.floating]) -> Matrix:
    """Standard deviation of each column, (N, D) -> (D,); 1 for a constant, which says nothing."""
    deviation: Matrix = rows.std(axis=0, dtype=np.float64)
    deviation[deviation <= _CONSTANT * np.abs(rows).max(axis=0)] = 1.0
    return deviation


def make_coordinates(rows: NDArray[np.floating], l2: float, deviation: Matrix | None = None) -> Coordinates:
    """Coordinates for training on all or some of some rows.

    Args:
        rows: Training rows, (N, D).
        l2: Penalty, above 0.
        deviation: By which columns are divided, (D,); None: that of the rows. Few rows have no good one of their own.
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    deviation = deviation_of(rows) if deviation is None else deviation
    standardised = (rows - mean) / deviation
    count, dimension = standardised.shape
    if count >= dimension:
        curvature, axes = _eigen(product(standardised.T, standardised) / count)
        kept = curvature > _RANK * max(float(curvature[-1]), 1e-300)
        curvature, axes = curvature[kept], axes[:, kept]
    else:  # the minimum lies in the span of the rows
        curvature, weights = _eigen(product(standardised, standardised.T) / count)
        kept = curvature > _RANK * max(float(curvature[-1]), 1e-300)
        curvature = curvature[kept]
        axes = product(standardised.T, weights[:, kept]) / np.sqrt(count * curvature)
    bound = curvature / 2 + l2
    return Coordinates(mean, axes / deviation[:, None] / np.sqrt(bound), np.append(l2 / bound, 0.0))


def _objective(inputs: Matrix, labels: Labels, penalty: Matrix) -> Callable[[Matrix], tuple[float, Matrix]]:
    rows = np.arange(len(labels))
    columns = penalty[:, None]

    def value_and_gradient(weights: Matrix) -> tuple[float, Matrix]:
        scores = product(inputs, weights)
        scores -= scores.max(axis=1, keepdims=True)
        truth = scores[rows, labels]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1)
        loss = float((np.log(total) - truth).mean()) + float((columns * np.square(weights)).sum()) / 2
        scores /= total[:, None]
        scores[rows, labels] -= 1
        return loss, product(inputs.T, scores) / len(labels) + columns * weights

    return value_and_gradient


def _direction(gradient: Matrix, pairs: list[tuple[Matrix, Matrix, float]]) -> Matrix:
    """The quasi-Newton step from past (step, change of gradient, 1 / their product), newest last."""
    result = gradient.copy()
    shares = []
    for step, change, inverse in reversed(pairs):
        share = inverse * float(np.vdot(step, result))
        result -= share * change
        shares.append(share)
    if pairs:
        _, change, inverse = pairs[-1]
        result /= inverse * float(np.vdot(change, change))
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        result += (share - inverse * float(np.vdot(change, result))) * step
    return -result


def fit(inputs: Matrix, labels: Labels, penalty: Matrix) -> Matrix:
    """Weights that minimise the loss.

    Args:
        inputs: Training rows in the solver's coordinates, (N, R + 1).
        labels: Class of each row: 0 to K - 1, each of which some row has, (N,). The free b of a class without rows
            would go to minus infinity.
        penalty: See :class:`Coordinates`.

    Returns:
        (R + 1, K).

    Raises:
        WorkError: The minimum was not reached, as with a penalty that is too small for float64.
    """
    objective = _objective(inputs, labels, penalty)
    weights: Matrix = np.zeros((inputs.shape[1], int(labels.max()) + 1))
    loss, gradient = objective(weights)
    pairs: list[tuple[Matrix, Matrix, float]] = []
    for _ in range(MAX_STEPS):
        if np.abs(gradient).max() < TOLERANCE:
            return weights
        direction = _direction(gradient, pairs)
        slope = float(np.vdot(gradient, direction))
        length = 1.0
        while True:
            new_weights = weights + length * direction
            new_loss, new_gradient = objective(new_weights)
            if new_loss <= loss + _SUFFICIENT * length * slope or length < _SMALLEST_STEP:
                break
            length /= 2
        step, change = new_weights - weights, new_gradient - gradient
        product = float(np.vdot(step, change))
        if product > 0:
            pairs = [*pairs[1 - HISTORY :], (step, change, 1 / product)]
        weights, loss, gradient = new_weights, new_loss, new_gradient
    raise WorkError(f"a linear probe did not reach its minimum in {MAX_STEPS} steps: raise leakage.penalty")


def predict(train: Matrix, labels: Labels, test: Matrix, penalty: Matrix) -> Labels:
    """The label that a regression on the training rows gives to each test row.

    Args:
        train: Training rows in the solver's coordinates, (N, R + 1).
        labels: Their labels, any numbers, (N,).
        test: Rows in the same coordinates, (M, R + 1).
        penalty: See :class:`Coordinates`.

    Returns:
        (M,); labels that no training row has are never given.

    Raises:
        WorkError: See :func:`fit`.
    """
    present, numbered = np.unique(labels, return_inverse=True)
    best = np.argmax(product(test, fit(train, numbered.astype(np.int64), penalty)), axis=1)
    chosen: Labels = present[best]
    return chosen
