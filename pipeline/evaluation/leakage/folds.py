"""Folds of probes: by person, by camera, by class. What is tested is never in its own training part."""

import numpy as np

from pipeline.features.feature_set import Integers


def person_folds(person_id: Integers, folds: int, seed: int) -> Integers:
    """Fold of each row, so that all rows of a person are in one: people in random order are dealt to the folds.

    Args:
        person_id: (N,).
        folds: Number of folds, at most the number of people.
        seed: Of the order.

    Returns:
        Numbers from 0, (N,).
    """
    people, member = np.unique(person_id, return_inverse=True)
    fold_of = np.empty(len(people), dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(len(people))] = np.arange(len(people)) % folds
    dealt: Integers = fold_of[member]
    return dealt


def stratified_folds(labels: Integers, folds: int, generator: np.random.Generator) -> Integers:
    """Fold of each row, so that every class is dealt evenly: numbers from 0, (N,)."""
    order = generator.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    dealt = np.empty(len(labels), dtype=np.int64)
    first = np.flatnonzero(np.diff(labels[order], prepend=labels[order[0]] - 1))
    sizes = np.diff(np.append(first, len(labels)))
    dealt[order] = np.concatenate([np.arange(size) % folds for size in sizes])
    return dealt


def camera_folds(labels: Integers, camera_id: Integers) -> Integers | None:
    """The camera of each row as its fold, numbered from 0, (N,).

    None if some class was seen by one camera only: it would be tested without having been trained, or the classifier
    could tell it by the camera.
    """
    pairs = np.unique(np.stack([labels, camera_id]), axis=1)
    _, cameras_of_class = np.unique(pairs[0], return_counts=True)
    if cameras_of_class.min() < 2:
        return None
    return np.unique(camera_id, return_inverse=True)[1].astype(np.int64)
