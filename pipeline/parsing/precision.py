"""Number formats of a parser's network, and what every network asks of its images."""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
import torch

from pipeline.errors import InputError
from pipeline.images import RgbImage

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

PRECISION_MEANING: Final = "fp32, bf16 or fp16 (not on a CPU); the two short ones are automatic mixed precision"

_TYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


def mixed_precision(device: torch.device, precision: Precision) -> torch.autocast:
    """A context, to be entered as often as wanted, in which a network runs with ``precision``.

    Raises:
        InputError: The device cannot do it.
    """
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision fp16 needs a GPU; on the device cpu use fp32 or bf16")
    return torch.autocast(device.type, _TYPES.get(precision, torch.bfloat16), enabled=precision != "fp32")


def check_images(images: Sequence[RgbImage]) -> None:
    """Check what callers of a parser promise.

    Raises:
        ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
    """
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"expected uint8 (height, width, 3), got {image.dtype} {image.shape}")
