"""From a semantic head's logits to a label map and a probability a pixel: sums over the classes of each label."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from pipeline.parsing.instances import Painting

STRIP_VALUES: Final = 4_000_000
"""Most logits held at once while an image is labelled, however large it is."""


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
