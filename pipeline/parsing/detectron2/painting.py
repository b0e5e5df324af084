"""From a network's outputs to a label map and a probability a pixel: instances are painted, semantic sums taken."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from pipeline.images import LabelMap, Mask

Painting = tuple[LabelMap, np.ndarray]
"""Label map, uint8 (height, width), and the probability of each pixel's label, float32 (height, width)."""

STRIP_VALUES: Final = 4_000_000
"""Most logits held at once while an image is labelled, however large it is."""


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
) -> Painting:
    """Paint masks in ascending score, so that of two that overlap the surer one is seen; equals as they come.

    A pixel's probability is that of its mask times the score of its instance.

    Args:
        found: Instances of one image.
        targets: Label number of each class; None or 0: not painted.
        shape: Height and width.
        score_threshold: Instances whose score is not above it are left out.
        person: Only instances that have at least half of their mask inside it are painted; None: all.
    """
    label_map = np.zeros(shape, dtype=np.uint8)
    probability = np.zeros(shape, dtype=np.float32)
    for index in np.argsort(np.asarray(found.scores, dtype=np.float64), kind="stable"):
        target, score = targets[found.classes[index]], found.scores[index]
        if not target or score <= score_threshold:
            continue
        mask, probabilities = found.paste(int(index))
        if person is not None and 2 * np.count_nonzero(mask & person) < np.count_nonzero(mask):
            continue
        label_map[mask] = target
        probability[mask] = score * probabilities[mask]
    return label_map, probability


@torch.inference_mode()
def label_semantic(
    logits: Tensor, targets: Sequence[int | None], shape: tuple[int, int], values: int = STRIP_VALUES
) -> Painting:
    """Sum the softmax over the classes of each label, at the image's size, and take the label with the most.

    Logits are scaled bilinearly (pixel centres, edges repeated), in strips of rows: those of a large photograph would
    need gigabytes.

    Args:
        logits: (classes, rows, columns), of the image without padding.
        targets: Label number of each class; None counts as background (0).
        shape: Height and width of the image.
        values: Most scaled logits held at once.
    """
    height, width = shape
    upper, lower, down = _taps(logits.shape[1], height)
    left, right, across = _taps(logits.shape[2], width)
    logits = logits.float().cpu()
    columns = torch.lerp(logits[:, :, left], logits[:, :, right], across)
    label_map = np.empty(shape, dtype=np.uint8)
    probability = np.empty(shape, dtype=np.float32)
    numbers = [target or 0 for target in targets]
    rows = max(1, values // (logits.shape[0] * width))
    for start in range(0, height, rows):
        strip = slice(start, min(start + rows, height))
        scaled = torch.lerp(columns[:, upper[strip]], columns[:, lower[strip]], down[strip, None])
        chances = scaled.softmax(dim=0)
        summed = torch.zeros((max(numbers) + 1, *chances.shape[1:]))
        for chance, number in zip(chances, numbers, strict=True):
            summed[number] += chance
        top, labels = summed.max(dim=0)
        label_map[strip] = labels.to(torch.uint8).numpy()
        probability[strip] = top.clamp_max(1.0).numpy()
    return label_map, probability


def _taps(inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each output position its two input positions and the weight of the second."""
    position = ((torch.arange(outputs, dtype=torch.float64) + 0.5) * inputs / outputs - 0.5).clamp(0, inputs - 1)
    first = position.floor().long()
    return first, (first + 1).clamp_max(inputs - 1), (position - first).float()


def confidence(label_map: LabelMap, probability: np.ndarray) -> float:
    """Mean probability over the pixels that have a label other than background; 0 if there are none."""
    person = label_map != 0
    return float(probability[person].mean(dtype=np.float64)) if person.any() else 0.0
