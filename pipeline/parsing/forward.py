"""How a network's parser works through images: in batches that leave no trace in the results."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import BadImageError
from pipeline.images import RgbImage
from pipeline.parsing.parser import Parsing


def check_images(images: Sequence[RgbImage]) -> None:
    """Check what callers of a parser promise.

    Raises:
        ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
    """
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"expected uint8 (height, width, 3), got {image.dtype} {image.shape}")


def images_at_once(device: torch.device, batch_size: int) -> int:
    """Images in one forward: ``batch_size``, but one on a CPU, where batches gain nothing."""
    return 1 if device.type == "cpu" else batch_size


def fixed_batches(inputs: Sequence[Tensor], size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of exactly ``size`` inputs of one shape, filled up with zeros, and the places of their inputs.

    Kernels, and so the last bits of their sums, may differ between batch sizes, and a label map must not depend on the
    images that happened to come along.
    """
    for shape in dict.fromkeys(each.shape for each in inputs):
        alike = [index for index, each in enumerate(inputs) if each.shape == shape]
        for start in range(0, len(alike), size):
            places = alike[start : start + size]
            batch = inputs[places[0]].new_zeros((size, *shape))
            for row, place in enumerate(places):
                batch[row] = inputs[place]
            yield places, batch


def parse_in_batches(
    inputs: Sequence[Tensor],
    batch_size: int,
    logits_of: Callable[[Tensor], Tensor],
    label: Callable[[Tensor, int], Parsing],
) -> list[Parsing | BadImageError]:
    """Parse images, in their order.

    Args:
        inputs: The network's input for each image.
        batch_size: Inputs in one forward.
        logits_of: From a batch of inputs (batch size, ...) to logits (batch size, classes, rows, columns).
        label: From one image's logits (classes, rows, columns) and its place to its parse.
    """
    parsings: dict[int, Parsing | BadImageError] = {}
    for places, batch in fixed_batches(inputs, batch_size):
        logits = logits_of(batch)
        for row, place in enumerate(places):
            parsings[place] = label(logits[row], place)
    return [parsings[place] for place in range(len(inputs))]
