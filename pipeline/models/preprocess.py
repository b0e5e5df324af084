"""From a decoded image to the network's input: one resize and one normalisation, for training and inference alike."""

import torch
from torch import Tensor

from pipeline.images import resize_image

__all__ = ["normalise", "resize_image"]


def normalise(images: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """uint8 images (B, H, W, 3) -> float32 (B, 3, H, W), (x / 255 - mean) / std."""
    scale = torch.tensor(std, device=images.device) * 255.0
    shift = torch.tensor(mean, device=images.device) * 255.0
    return ((images.to(torch.float32) - shift) / scale).permute(0, 3, 1, 2).contiguous()
