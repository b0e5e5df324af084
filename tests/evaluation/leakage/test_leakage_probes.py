"""Probes of factors: folds by person, scores, and what may not help them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.leakage.folds import camera_folds, person_folds, stratified_folds
from pipeline.evaluation.leakage.probes import ProbeScore, probe_factors, score_predictions

PEOPLE, IMAGES = 40, 10
PERSON = np.repeat(np.arange(PEOPLE), IMAGES)


def codes(labels, noise=0.1, seed=0, size=16):
    rng = np.random.default_rng(seed)
    book = rng.standard_normal((labels.max() + 1, size))
    return (book[labels] + noise * rng.standard_normal((len(labels), size))).astype(np.float32)


def probe(features, labels, folds=5, seed=0) -> ProbeScore:
    scores, left_out = probe_factors(features, PERSON, {"factor": labels}, folds=folds, l2=0.01, seed=seed)
    assert not left_out
    return scores["factor"]


@given(st.lists(st.integers(-5, 60), min_size=12, max_size=80), st.integers(2, 5), st.integers(0, 3))
def test_a_person_is_in_one_fold_and_folds_have_as_many_people(people, folds, seed):
    person = np.array([*people, *range(100, 100 + folds)])
    fold = person_folds(person, folds, seed)
    number_of = {number: set(fold[person == number].tolist()) for number in np.unique(person)}
    assert all(len(found) == 1 for found in number_of.values())
    sizes = np.bincount([next(iter(found)) for found in number_of.values()], minlength=folds)
    assert len(sizes) == folds
    assert sizes.max() - sizes.min() <= 1
    assert (fold == person_folds(person, folds, seed)).all()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(2, 4), st.integers(0, 3))
def test_classes_are_dealt_evenly(labels, folds, seed):
    labels = np.array(labels)
    fold = stratified_folds(labels, folds, np.random.default_rng(seed))
    for label in np.unique(labels):
        sizes = np.bincount(fold[labels == label], minlength=folds)
        assert sizes.max() - sizes.min() <= 1


def test_cameras_are_folds_where_each_class_was_seen_by_two():
    labels, cameras = np.array([1, 1, 2, 2, 2]), np.array([4, 7, 4, 9, 9])
    np.testing.assert_array_equal(camera_folds(labels, cameras), [0, 1, 0, 2, 2])
    assert camera_folds(labels, np.array([4, 4, 4, 9, 9])) is None


def test_a_factor_that_the_features_hold_is_read_from_people_never_seen():
    labels = np.random.default_rng(0).integers(0, 4, len(PERSON))
    score = probe(codes(labels), labels)
    assert score.accuracy == score.balanced_accuracy == 1.0
    assert (score.n, score.people, score.classes, score.balanced_chance) == (400, 40, 4, 0.25)


def test_a_factor_that_the_features_do_not_hold_stays_at_chance():
    labels = np.random.default_rng(0).integers(0, 4, len(PERSON))
    score = probe(np.random.default_rng(1).standard_normal((len(PERSON), 16)).astype(np.float32), labels)
    assert abs(score.balanced_accuracy - 0.25) < 0.08


def test_a_garment_cannot_be_read_through_the_identity():
    colour_of = np.random.default_rng(2).integers(0, 4, PEOPLE)  # everybody always wears one colour
    labels, features = colour_of[PERSON], codes(PERSON, noise=0.01, size=64)
    score = probe(features, labels)
    assert score.accuracy < 0.5
    half = np.arange(len(PERSON)) % 2 == 0  # with the same people in both parts the identity would give it away
    nearest = np.argmax(features[~half] @ features[half].T, axis=1)
    assert (labels[half][nearest] == labels[~half]).mean() > 0.95


def test_rows_without_a_value_are_left_out_and_unusable_factors_are_named():
    labels = np.random.default_rng(0).integers(0, 3, len(PERSON))
    partly = np.where(PERSON % 4 == 0, -1, labels)
    factors = {
        "partly": partly,
        "constant": np.zeros(len(PERSON), dtype=np.int64),
        "of one person": np.where(PERSON == 0, labels, -1),
    }
    scores, left_out = probe_factors(codes(labels), PERSON, factors, folds=5, l2=0.01, seed=0)
    assert list(scores) == ["partly"]
    assert (scores["partly"].n, scores["partly"].people) == (300, 30)
    assert left_out == {
        "constant": "it has fewer than two values",
        "of one person": "the people who have it are all in one fold",
    }


def test_chance_is_the_usual_class_of_the_training_folds_on_the_tested_rows():
    labels = (np.random.default_rng(3).random(len(PERSON)) < 0.3).astype(np.int64) + 2 * (PERSON == 7)
    fold = person_folds(PERSON, 4, 9)
    right = 0
    for number in range(4):
        values, counts = np.unique(labels[fold != number], return_counts=True)
        right += int((labels[fold == number] == values[counts.argmax()]).sum())
    assert probe(codes(labels), labels, folds=4, seed=9).chance == pytest.approx(right / len(PERSON))


def test_scores_are_those_of_a_plain_loop():
    rng = np.random.default_rng(4)
    labels, said, usual = (rng.integers(0, 3, 50) for _ in range(3))
    person = rng.integers(0, 12, 50)
    score = score_predictions(labels, said, usual, person)
    assert score.accuracy == pytest.approx(sum(a == b for a, b in zip(labels, said, strict=True)) / 50)
    assert score.chance == pytest.approx(sum(a == b for a, b in zip(labels, usual, strict=True)) / 50)
    shares = [np.mean([said[i] == c for i in range(50) if labels[i] == c]) for c in range(3)]
    assert score.balanced_accuracy == pytest.approx(np.mean(shares))


def test_the_standard_error_is_that_of_resampled_people():
    rng = np.random.default_rng(5)
    skill = rng.uniform(0, 1, PEOPLE)
    right = rng.random(len(PERSON)) < skill[PERSON]
    zero = np.zeros(len(PERSON), dtype=np.int64)
    score = score_predictions(zero, np.where(right, 0, 1), zero, PERSON)
    means = [right.reshape(PEOPLE, IMAGES)[rng.integers(0, PEOPLE, PEOPLE)].mean() for _ in range(2000)]
    assert score.standard_error == pytest.approx(np.std(means), rel=0.1)
    assert score.standard_error > 1.3 * np.sqrt(0.25 / len(PERSON))  # images of a person are not independent
