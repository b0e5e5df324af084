"""Probes of the clothes within each identity: can the outfit be told although the person is the same?

This needs no factors, only clothes ids, so that it can be measured on every cloth-changing data set. Where each of a
person's outfits was seen by at least two cameras, each camera is tested in turn and the others are trained on.
Otherwise the images are dealt to folds, and a camera that saw only one outfit can give the outfit away: these people
are counted and averaged apart.

Chance is the share of a person's most frequent outfit. Features that say nothing can fall below it: an outfit is rarer
in the training part when its images are tested.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.evaluation.leakage.folds import camera_folds, stratified_folds
from pipeline.evaluation.leakage.logistic import Matrix, deviation_of, make_coordinates, predict
from pipeline.evaluation.leakage.probes import most_frequent
from pipeline.evaluation.leakage.settings import LeakageSettings
from pipeline.features.feature_set import NO_ID, FeatureSet, Integers

Scheme = Literal["other_cameras", "same_cameras"]


@dataclass(frozen=True)
class IdentityScore:
    """The probe of one person's outfits.

    Attributes:
        right: Images whose outfit was told.
        usual: Images of the most frequent outfit: what always saying it would get right.
        n: Images.
        outfits: Outfits.
        scheme: Whether each camera was tested without having been trained on.
    """

    right: int
    usual: int
    n: int
    outfits: int
    scheme: Scheme


@dataclass(frozen=True)
class WithinScore:
    """Mean over identities, weighted by their images.

    Attributes:
        accuracy: Share of images whose outfit was told.
        chance: Share of images of their person's most frequent outfit.
        n: Images.
        people: Identities.
        outfits: Outfits of all of them together.
    """

    accuracy: float
    chance: float
    n: int
    people: int
    outfits: int


def _usable_rows(clothes_id: Integers, limit: int, generator: np.random.Generator) -> Integers:
    """Rows of outfits with at least two images, at most ``limit`` drawn of each; none with fewer than two outfits."""
    chosen = []
    for outfit in np.unique(clothes_id[clothes_id != NO_ID]):
        rows = np.flatnonzero(clothes_id == outfit)
        if len(rows) > limit:
            rows = np.sort(generator.choice(rows, limit, replace=False))
        if len(rows) >= 2:
            chosen.append(rows)
    return np.concatenate(chosen) if len(chosen) >= 2 else np.empty(0, dtype=np.int64)


def probe_identity(
    items: FeatureSet, deviation: Matrix, settings: LeakageSettings, generator: np.random.Generator
) -> IdentityScore | None:
    """Probe one person's outfits; None if fewer than two outfits have two images.

    Args:
        items: All images of the person.
        deviation: Of each feature over all people, (D,).
        settings: Penalty, images of an outfit at the most, and folds at the most, where cameras cannot be told apart
            from outfits.
        generator: Of what is drawn.
    """
    items = items.take(_usable_rows(items.clothes_id, settings.images_per_outfit, generator))
    labels = items.clothes_id
    if not len(labels):
        return None
    counts = np.unique(labels, return_counts=True)[1]
    fold = None if (items.camera_id == NO_ID).any() else camera_folds(labels, items.camera_id)
    scheme: Scheme = "same_cameras" if fold is None else "other_cameras"
    if fold is None:
        fold = stratified_folds(labels, min(settings.folds, int(counts.min())), generator)
    right = 0
    for number in np.unique(fold):
        tested = fold == number
        coordinates = make_coordinates(items.features[~tested], settings.penalty, deviation)
        train, test = coordinates.of(items.features[~tested]), coordinates.of(items.features[tested])
        said = predict(train, labels[~tested], test, coordinates.penalty)
        right += int((said == labels[tested]).sum())
    return IdentityScore(right, int(np.sum(labels == most_frequent(labels))), len(labels), len(counts), scheme)


def _mean(scores: list[IdentityScore]) -> WithinScore | None:
    images = sum(score.n for score in scores)
    if not images:
        return None
    return WithinScore(
        accuracy=sum(score.right for score in scores) / images,
        chance=sum(score.usual for score in scores) / images,
        n=images,
        people=len(scores),
        outfits=sum(score.outfits for score in scores),
    )


def probe_within_identities(
    items: FeatureSet, settings: LeakageSettings, seed: int
) -> tuple[WithinScore | None, dict[Scheme, WithinScore]]:
    """Probe the outfits of every person.

    Args:
        items: Images of all people.
        settings: See :func:`probe_identity`.
        seed: Of what is drawn; a person's draw does not depend on the others.

    Returns:
        The mean over everybody with at least two outfits, None if there is nobody; and the same by scheme.

    Raises:
        WorkError: A regression did not reach its minimum.
    """
    deviation = deviation_of(items.features)
    scores: list[IdentityScore] = []
    order = np.argsort(items.person_id, kind="stable")
    people, starts = np.unique(items.person_id[order], return_index=True)
    for person, rows in zip(people.tolist(), np.split(order, starts[1:]), strict=True):
        generator = np.random.default_rng([seed, abs(person), int(person < 0)])
        found = probe_identity(items.take(rows), deviation, settings, generator)
        if found is not None:
            scores.append(found)
    schemes: tuple[Scheme, ...] = ("other_cameras", "same_cameras")
    parts = {scheme: _mean([score for score in scores if score.scheme == scheme]) for scheme in schemes}
    return _mean(scores), {scheme: score for scheme, score in parts.items() if score is not None}
