"""Linear probes of factors: how well a value that a person or an outfit has is read from the features of other people.

The people of the tested fold are never in its training part, so that a probe of a garment cannot go through who wears
it, and a probe of a person's factor has to read the factor and not the person.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.leakage.folds import person_folds
from pipeline.evaluation.leakage.logistic import make_coordinates, predict
from pipeline.features.feature_set import Floats, Integers

NOT_APPLICABLE = -1
"""Label of rows that have no value of a factor, such as the colour of no bag; they are left out."""


@dataclass(frozen=True)
class ProbeScore:
    """What a probe reached on the rows that were not in its training part, all folds together.

    Attributes:
        accuracy: Share of right rows.
        chance: The same if each fold's most frequent training class is always said.
        balanced_accuracy: Mean over classes of the share of right rows.
        balanced_chance: 1 / number of classes.
        standard_error: Of the accuracy, over people: rows of one person are not independent.
        n: Rows.
        people: People that these rows show.
        classes: Values that occur.
    """

    accuracy: float
    chance: float
    balanced_accuracy: float
    balanced_chance: float
    standard_error: float
    n: int
    people: int
    classes: int


def _standard_error(right: NDArray[np.bool_], person_id: Integers) -> float:
    """Of a mean over rows that come in groups (the usual estimator for a ratio of sums over groups)."""
    people, member = np.unique(person_id, return_inverse=True)
    if len(people) < 2:
        return 0.0
    residual = np.bincount(member, weights=right - right.mean())
    return float(np.sqrt(len(people) / (len(people) - 1) * np.square(residual).sum()) / len(right))


def score_predictions(labels: Integers, predicted: Integers, usual: Integers, person_id: Integers) -> ProbeScore:
    """Score predictions of rows.

    Args:
        labels: True class of each row, (N,).
        predicted: What the probe says, (N,).
        usual: Most frequent class of the training part that the row's probe had, (N,).
        person_id: (N,).
    """
    right = predicted == labels
    classes, member = np.unique(labels, return_inverse=True)
    recalls = np.bincount(member, weights=right) / np.bincount(member)
    return ProbeScore(
        accuracy=float(right.mean()),
        chance=float((usual == labels).mean()),
        balanced_accuracy=float(recalls.mean()),
        balanced_chance=1 / len(classes),
        standard_error=_standard_error(right, person_id),
        n=len(labels),
        people=len(np.unique(person_id)),
        classes=len(classes),
    )


def most_frequent(labels: Integers) -> int:
    """The most frequent label, the smallest of several."""
    values, counts = np.unique(labels, return_counts=True)
    return int(values[counts.argmax()])


def why_not(labels: Integers, fold: Integers) -> str | None:
    """Why a factor cannot be probed, or None."""
    applies = labels != NOT_APPLICABLE
    if len(np.unique(labels[applies])) < 2:
        return "it has fewer than two values"
    if len(np.unique(fold[applies])) < 2:
        return "the people who have it are all in one fold"
    return None


def probe_factors(
    features: Floats, person_id: Integers, factors: Mapping[str, Integers], *, folds: int, l2: float, seed: int
) -> tuple[dict[str, ProbeScore], dict[str, str]]:
    """Probe several factors on the same folds.

    Args:
        features: (N, D).
        person_id: (N,).
        factors: By name the value of each row, ``NOT_APPLICABLE`` where there is none, (N,).
        folds: Number of folds, at most the number of people.
        l2: Penalty of the regression.
        seed: Of the folds.

    Returns:
        Scores by factor, and by factor why there is none.

    Raises:
        WorkError: A regression did not reach its minimum.
    """
    fold = person_folds(person_id, folds, seed)
    left_out = {name: reason for name, labels in factors.items() if (reason := why_not(labels, fold))}
    chosen = {name: labels for name, labels in factors.items() if name not in left_out}
    predicted = {name: np.full(len(labels), NOT_APPLICABLE) for name, labels in chosen.items()}
    usual = {name: np.full(len(labels), NOT_APPLICABLE) for name, labels in chosen.items()}
    for number in range(folds):
        tested = fold == number
        coordinates = make_coordinates(features[~tested], l2)
        rows = coordinates.of(features)
        for name, labels in chosen.items():
            applies = labels != NOT_APPLICABLE
            train, test = applies & ~tested, applies & tested
            if not test.any():
                continue
            predicted[name][test] = predict(rows[train], labels[train], rows[test], coordinates.penalty)
            usual[name][test] = most_frequent(labels[train])
    scores = {}
    for name, labels in chosen.items():
        applies = labels != NOT_APPLICABLE
        scores[name] = score_predictions(
            labels[applies], predicted[name][applies], usual[name][applies], person_id[applies]
        )
    return scores, left_out
