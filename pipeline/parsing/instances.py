"""Instances found in an image: painted by their scores into one label map, and kept to the person around the centre."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.images import LabelMap, Mask
from pipeline.parsing.parser import Parsing
from pipeline.parsing.person import keep_group, most_central
from pipeline.parsing.quality import NO_CENTRAL_PERSON

Painting = tuple[LabelMap, np.ndarray]
"""Label map, uint8 (height, width), and the probability of each pixel's label, float32 (height, width)."""

PersonMode = Literal["union", "central"]
"""``union``: everybody is painted; ``central``: the person around the image's centre."""


@dataclass(frozen=True)
class Instances:
    """What an instance head found in one image.

    Attributes:
        classes: Class number of each instance.
        scores: Score of each, in [0, 1].
        paste: Gives the mask of an instance by its index: bool (height, width), and its probabilities in [0, 1],
            float32 (height, width), both at the image's own size.
    """

    classes: Sequence[int]
    scores: Sequence[float]
    paste: Callable[[int], tuple[Mask, np.ndarray]]


def paint_instances(
    found: Instances,
    targets: Sequence[int | None],
    shape: tuple[int, int],
    score_threshold: float,
    person: Mask | None = None,
    beneath: Collection[int] = (),
) -> Painting:
    """Paint masks in ascending score, so that of two that overlap the surer one is seen; equals as they come.

    A pixel's probability is that of its mask times the score of its instance.

    Args:
        found: Instances of one image.
        targets: Label number of each class; None or 0: not painted.
        shape: Height and width.
        score_threshold: Instances whose score is not above it are left out.
        person: Only instances that have at least half of their mask inside it are painted; None: all.
        beneath: Classes that are painted before the others, whatever their scores: what others cover of them is theirs.
    """
    label_map = np.zeros(shape, dtype=np.uint8)
    probability = np.zeros(shape, dtype=np.float32)
    above = np.array([number not in beneath for number in found.classes], dtype=np.bool_)
    for index in np.lexsort((np.asarray(found.scores, dtype=np.float64), above)):
        target, score = targets[found.classes[index]], found.scores[index]
        if not target or score <= score_threshold:
            continue
        mask, probabilities = found.paste(int(index))
        if person is not None and 2 * np.count_nonzero(mask & person) < np.count_nonzero(mask):
            continue
        label_map[mask] = target
        probability[mask] = score * probabilities[mask]
    return label_map, probability


def confidence(label_map: LabelMap, probability: np.ndarray) -> float:
    """Mean probability over the pixels that have a label other than background; 0 if there are none."""
    person = label_map != 0
    return float(probability[person].mean(dtype=np.float64)) if person.any() else 0.0


def parse_instances(
    found: Instances,
    targets: Sequence[int | None],
    shape: tuple[int, int],
    score_threshold: float,
    person_mode: PersonMode,
    person_class: int | None,
    beneath: Collection[int] = (),
) -> Parsing:
    """The parse that instances amount to.

    Args:
        found: Instances of one image.
        targets: Label number of each class; None or 0: not painted.
        shape: Height and width.
        score_threshold: Instances whose score is not above it are left out.
        person_mode: See :data:`PersonMode`.
        person_class: Number of the class whose instances are whole persons, for ``central``; None: people are told
            apart by the gaps between them.
        beneath: Classes that are painted before the others.
    """
    if person_mode == "union" or person_class is None:
        return restricted(paint_instances(found, targets, shape, score_threshold, None, beneath), person_mode)
    people = [
        found.paste(index)[0]
        for index, (number, score) in enumerate(zip(found.classes, found.scores, strict=True))
        if number == person_class and score > score_threshold
    ]
    person = most_central(people)
    painting = paint_instances(found, targets, shape, score_threshold, person, beneath)
    return as_parsing(painting, () if person is not None else (NO_CENTRAL_PERSON,))


def restricted(painting: Painting, person_mode: PersonMode) -> Parsing:
    """The parse of a painting; with ``central`` only of the group of pixels around the centre, if there is one."""
    if person_mode == "union" or keep_group(*painting):
        return as_parsing(painting)
    return as_parsing(painting, (NO_CENTRAL_PERSON,))


def as_parsing(painting: Painting, notes: tuple[str, ...] = ()) -> Parsing:
    """The parse of a painting as it is."""
    return Parsing(painting[0], confidence(*painting), notes)
