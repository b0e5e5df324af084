"""How far two parsers agree on the same images: the clothes mask and the labels of each image, and of all together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, Mask
from pipeline.parsing.scoring.scores import MaskTally, class_iou, confusion_matrix, match_labels

_LABEL_VALUES = 256
_NOT_SHARED = -1


@dataclass(frozen=True)
class ImageAgreement:
    """How far two parses of one image agree.

    Attributes:
        clothes_iou: Intersection over union of the two clothes masks; 1 if both are empty.
        clothes_differ: Share of the image's pixels that are in exactly one of the masks.
        labels_differ: Share of other labels among the pixels to which both gave a label that both have; NaN if there
            is no such pixel.
    """

    clothes_iou: float
    clothes_differ: float
    labels_differ: float


@dataclass(frozen=True)
class LabelAgreement:
    """How far two parsers agree on one label.

    Attributes:
        name: As the first parser writes it.
        iou: Total intersection over total union; NaN where neither painted it.
        first: Share of all pixels that have it by the first parser.
        second: By the second.
    """

    name: str
    iou: float
    first: float
    second: float


@dataclass(frozen=True)
class Confusion:
    """Pixels that the first parser gives one label and the second another.

    Attributes:
        first: Label of the first.
        second: Label of the second.
        share: Of all pixels.
        of_first: Of the pixels of that label by the first.
    """

    first: str
    second: str
    share: float
    of_first: float


class AgreementTally:
    """Gathers, image by image, how far two parsers agree.

    Args:
        first: Label names of the first parser, by number.
        second: Of the second.
    """

    def __init__(self, first: Sequence[str], second: Sequence[str]) -> None:
        self._names = (tuple(first), tuple(second))
        self._pairs = match_labels(first, second)
        self._shared = tuple(_table(numbers) for numbers in zip(*self._pairs, strict=True))
        self._confusion = np.zeros((len(first), len(second)), dtype=np.int64)
        self.masks = MaskTally()

    def add(self, labels: tuple[LabelMap, LabelMap], masks: tuple[Mask, Mask]) -> ImageAgreement:
        """Count one image.

        Args:
            labels: Label maps of the first and the second parser, uint8 (height, width).
            masks: Their clothes masks, boolean (height, width).

        Raises:
            ValueError: Shapes differ, or a number has no name.
        """
        for number, names in zip((int(each.max(initial=0)) for each in labels), self._names, strict=True):
            if number >= len(names):
                raise ValueError(f"label {number} is not below {len(names)}")
        self._confusion += confusion_matrix(*labels, len(self._names[1]), len(self._names[0]))
        iou = self.masks.add(*masks)
        first, second = (table[each] for table, each in zip(self._shared, labels, strict=True))
        compared = (first != _NOT_SHARED) & (second != _NOT_SHARED)
        differ = np.count_nonzero(compared & (first != second))
        counted = np.count_nonzero(compared)
        return ImageAgreement(iou, float((masks[0] ^ masks[1]).mean()), differ / counted if counted else float("nan"))

    @property
    def labels_differ(self) -> float:
        """Share of other labels among all pixels to which both gave a label that both have; NaN if there is none."""
        rows, columns = (list(numbers) for numbers in zip(*self._pairs, strict=True))
        compared = self._confusion[np.ix_(rows, columns)]
        total = compared.sum()
        return float(1 - np.trace(compared) / total) if total else float("nan")

    @property
    def by_label(self) -> tuple[LabelAgreement, ...]:
        """Of each label that both parsers have, in the order of the first's numbers."""
        pixels = max(1, int(self._confusion.sum()))
        first, second = self._confusion.sum(axis=1) / pixels, self._confusion.sum(axis=0) / pixels
        return tuple(
            LabelAgreement(self._names[0][row], float(iou), float(first[row]), float(second[column]))
            for (row, column), iou in zip(self._pairs, class_iou(self._confusion, self._pairs), strict=True)
        )

    @property
    def only_one_has(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Labels that only the first parser has, and those that only the second has."""
        shared = [{pair[side] for pair in self._pairs} for side in (0, 1)]
        first, second = (
            tuple(name for number, name in enumerate(self._names[side]) if number not in shared[side])
            for side in (0, 1)
        )
        return first, second

    def confusions(self, most: int) -> tuple[Confusion, ...]:
        """The pairs of different labels with the most pixels, the most first.

        Args:
            most: How many of them.
        """
        counts = self._confusion.copy()
        for pair in self._pairs:
            counts[pair] = 0
        pixels, of_first = self._confusion.sum(), self._confusion.sum(axis=1)
        order = np.argsort(-counts, axis=None, kind="stable")[:most]
        found = [divmod(int(place), counts.shape[1]) for place in order]
        return tuple(
            Confusion(
                self._names[0][row],
                self._names[1][column],
                float(counts[row, column] / pixels),
                float(counts[row, column] / of_first[row]),
            )
            for row, column in found
            if counts[row, column]
        )


def _table(numbers: Sequence[int]) -> NDArray[np.int64]:
    """Place of a label number among the shared ones; :data:`_NOT_SHARED` for the others."""
    table = np.full(_LABEL_VALUES, _NOT_SHARED, dtype=np.int64)
    table[list(numbers)] = np.arange(len(numbers))
    return table
