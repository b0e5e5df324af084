"""From a decoded image to the network's input: one resize and one normalisation, for training and inference alike."""

import cv2
import torch
from torch import Tensor

from pipeline.images import RgbImage


def resize_image(image: RgbImage, size: tuple[int, int]) -> RgbImage:
    """Resize to (height, width): bicubic when it grows, area averaging when it shrinks (no aliasing)."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] * image.shape[1] > height * width
    resized: RgbImage = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return resized


def normalise(images: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """uint8 images (B, H, W, 3) -> float32 (B, 3, H, W), (x / 255 - mean) / std."""
    scale = torch.tensor(std, device=images.device) * 255.0
    shift = torch.tensor(mean, device=images.device) * 255.0
    return ((images.to(torch.float32) - shift) / scale).permute(0, 3, 1, 2).contiguous()
