"""How good label maps and masks are, measured against labels drawn by people."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, Mask


def confusion_matrix(truth: LabelMap, predicted: LabelMap, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row is the true label, column the predicted one.

    Pixels whose true label is ``classes`` or more are left out: they are undecided or ignored.

    Raises:
        ValueError: The shapes differ, or a predicted label is out of range.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"label maps differ in shape: {truth.shape} and {predicted.shape}")
    if predicted.size and int(predicted.max()) >= classes:
        raise ValueError(f"predicted label {predicted.max()} is not below {classes}")
    counted = truth < classes
    pairs = truth[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_iou(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of each class; NaN for a class that is in neither truth nor prediction."""
    intersection = np.diagonal(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    iou = np.full(len(confusion), np.nan)
    np.divide(intersection, union, out=iou, where=union > 0)
    return iou


def pixel_accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of counted pixels whose label is right; NaN if none was counted."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


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
