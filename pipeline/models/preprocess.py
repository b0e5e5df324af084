"""From a decoded image to the network's input: one resize and one normalisation, for training and inference alike."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.images import resize_image

__all__ = ["normalise", "pixel_constants", "resize_image", "standardise"]


def normalise(images: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """uint8 images (B, H, W, 3) -> float32 (B, 3, H, W), (x / 255 - mean) / std."""
    scale = torch.tensor(std, device=images.device) * 255.0
    shift = torch.tensor(mean, device=images.device) * 255.0
    return ((images.to(torch.float32) - shift) / scale).permute(0, 3, 1, 2).contiguous()


def pixel_constants(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What :func:`normalise` subtracts from a pixel and divides it by, float32 (3,) each."""
    grey = np.float32(255.0)
    return np.array(mean, dtype=np.float32) * grey, np.array(std, dtype=np.float32) * grey


def standardise(planes: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """:func:`normalise` where nothing is copied to the device: all is there already.

    Args:
        planes: uint8, (B, 3, H, W).
        shift: See :func:`pixel_constants`.
        scale: See :func:`pixel_constants`.

    Returns:
        float32 (B, 3, H, W).
    """
    floats = planes.to(torch.float32, memory_format=torch.contiguous_format)
    return floats.sub_(shift[:, None, None]).div_(scale[:, None, None])
