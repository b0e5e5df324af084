"""How good label maps and masks are, measured against labels drawn by people."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, Mask


def _normalised(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def match_labels(truth: Sequence[str], predicted: Sequence[str]) -> list[tuple[int, int]]:
    """Numbers, in the truth and in the prediction, of labels that have one name but for case, blanks and signs.

    Number 0 is the background in every scheme, whatever it is called.
    """
    numbers = {_normalised(name): number for number, name in reversed(list(enumerate(predicted))) if number}
    named = [(number, numbers.get(_normalised(name))) for number, name in enumerate(truth) if number]
    return [(0, 0), *((number, other) for number, other in named if other is not None)]


def confusion_matrix(
    truth: LabelMap, predicted: LabelMap, classes: int, true_classes: int | None = None
) -> NDArray[np.int64]:
    """Counts (true classes, classes): row is the true label, column the predicted one.

    Pixels whose true label is ``true_classes`` or more are left out: they are undecided or ignored.

    Args:
        truth: uint8 (height, width).
        predicted: uint8 (height, width).
        classes: Number of predicted labels.
        true_classes: Number of true labels; None: as many.

    Raises:
        ValueError: The shapes differ, or a predicted label is out of range.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"label maps differ in shape: {truth.shape} and {predicted.shape}")
    if predicted.size and int(predicted.max()) >= classes:
        raise ValueError(f"predicted label {predicted.max()} is not below {classes}")
    rows = classes if true_classes is None else true_classes
    counted = truth < rows
    pairs = truth[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=rows * classes).reshape(rows, classes).astype(np.int64)


def class_iou(confusion: NDArray[np.int64], pairs: Sequence[tuple[int, int]] | None = None) -> NDArray[np.float64]:
    """Intersection over union of each class; NaN for a class that is in neither truth nor prediction.

    Args:
        confusion: Counts, row is the true label, column the predicted one.
        pairs: True and predicted number of each class; None: the numbers are the same.
    """
    rows, columns = _numbers(confusion, pairs)
    intersection = confusion[rows, columns].astype(np.float64)
    union = confusion.sum(axis=1)[rows] + confusion.sum(axis=0)[columns] - intersection
    iou = np.full(len(rows), np.nan)
    np.divide(intersection, union, out=iou, where=union > 0)
    return iou


def _numbers(confusion: NDArray[np.int64], pairs: Sequence[tuple[int, int]] | None) -> tuple[list[int], list[int]]:
    if pairs is None:
        return list(range(len(confusion))), list(range(len(confusion)))
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def pixel_accuracy(confusion: NDArray[np.int64], pairs: Sequence[tuple[int, int]] | None = None) -> float:
    """Share of right labels among the pixels whose true label is one of ``pairs``; NaN if there are none.

    Arguments as for :func:`class_iou`.
    """
    rows, columns = _numbers(confusion, pairs)
    total = confusion[rows].sum()
    return float(confusion[rows, columns].sum() / total) if total else float("nan")


class MaskTally:
    """Intersection over union of a mask, gathered over images."""

    def __init__(self) -> None:
        self.intersection = 0
        self.union = 0
        self._per_image: list[float] = []

    def add(self, truth: Mask, predicted: Mask) -> float:
        """Count one image and return its IoU; two empty masks agree perfectly (1).

        Raises:
            ValueError: The shapes differ.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"masks differ in shape: {truth.shape} and {predicted.shape}")
        intersection = int(np.count_nonzero(truth & predicted))
        union = int(np.count_nonzero(truth | predicted))
        self.intersection += intersection
        self.union += union
        self._per_image.append(intersection / union if union else 1.0)
        return self._per_image[-1]

    @property
    def images(self) -> int:
        """Images counted."""
        return len(self._per_image)

    @property
    def iou(self) -> float:
        """Total intersection over total union; NaN if every mask was empty."""
        return self.intersection / self.union if self.union else float("nan")

    @property
    def mean_image_iou(self) -> float:
        """Mean over images of each image's IoU; NaN if there were none."""
        return float(np.mean(self._per_image)) if self._per_image else float("nan")

    @property
    def per_image(self) -> list[float]:
        """IoU of each image, in the order of counting."""
        return list(self._per_image)


def mean_over_present(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN if none is."""
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")
