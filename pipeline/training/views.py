"""The augmented views of an image: raw and shielding share one flip, one crop and one erased box."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.preprocess import normalise

ERASE_AREA = (0.02, 1 / 3)  # share of the image; with the aspect below the values of Zhong et al. 2020
ERASE_ASPECT = (0.3, 1 / 0.3)


@dataclass(frozen=True)
class Geometry:
    """What is done to each image of a batch; every array has B rows.

    Attributes:
        flip: Mirror left and right.
        offset: Top and left corner of the crop in the padded image, in pixels.
        box: Top, left, height and width of the erased box in pixels; height 0 where nothing is erased.
    """

    flip: NDArray[np.bool_]
    offset: NDArray[np.int64]
    box: NDArray[np.int64]


def _draw_box(generator: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    for _ in range(10):  # a box that does not fit is drawn again, as in the reference method
        area = generator.uniform(*ERASE_AREA) * height * width
        aspect = np.exp(generator.uniform(*np.log(ERASE_ASPECT)))
        tall, wide = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < tall < height and 0 < wide < width:
            return int(generator.integers(height - tall + 1)), int(generator.integers(width - wide + 1)), tall, wide
    return 0, 0, 0, 0


def draw_geometry(
    generator: np.random.Generator,
    count: int,
    size: tuple[int, int],
    flip_probability: float = 0.5,
    pad: int = 10,
    erase_probability: float = 0.5,
) -> Geometry:
    """Draw the augmentation of ``count`` images of ``size`` (height, width)."""
    flip = generator.random(count) < flip_probability
    offset = generator.integers(2 * pad + 1, size=(count, 2))
    erased = generator.random(count) < erase_probability
    box = np.array([_draw_box(generator, *size) if wanted else (0, 0, 0, 0) for wanted in erased], dtype=np.int64)
    return Geometry(flip, offset, box.reshape(count, 4))


def apply_geometry(images: Tensor, geometry: Geometry, pad: int = 10) -> Tensor:
    """Flip and crop uint8 images (B, H, W, 3); the padding is black. The size stays."""
    count, height, width, channels = images.shape
    padded = images.new_zeros(count, height + 2 * pad, width + 2 * pad, channels)
    padded[:, pad : pad + height, pad : pad + width] = images
    views = torch.empty_like(images)
    for index in range(count):
        top, left = geometry.offset[index]
        view = padded[index, top : top + height, left : left + width]
        views[index] = view.flip(1) if geometry.flip[index] else view
    return views


def erase(images: Tensor, geometry: Geometry, noise: Tensor) -> Tensor:
    """Put ``noise`` into each image's box, in place; images and noise are float (B, 3, H, W)."""
    for index, (top, left, tall, wide) in enumerate(geometry.box):
        if tall:
            window = (index, slice(None), slice(top, top + tall), slice(left, left + wide))
            images[window] = noise[window]
    return images


def paired_views(
    raw: Tensor,
    shielding: Tensor,
    generator: np.random.Generator,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    flip_probability: float = 0.5,
    pad: int = 10,
    erase_probability: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Augmented views of raw and shielding images that share their geometry and erased box.

    Args:
        raw: uint8, (B, H, W, 3).
        shielding: The same images shielded, uint8, (B, H, W, 3).
        generator: For everything random.
        mean: See :func:`normalise`.
        std: See :func:`normalise`.
        flip_probability: Chance of a flip.
        pad: Pixels of black padding before the random crop.
        erase_probability: Chance of an erased box, filled with normal noise.

    Returns:
        Two float32 tensors (B, 3, H, W).
    """
    count, height, width, _ = raw.shape
    geometry = draw_geometry(generator, count, (height, width), flip_probability, pad, erase_probability)
    noise = torch.from_numpy(generator.standard_normal((count, 3, height, width), dtype=np.float32)).to(raw.device)
    views = [
        erase(normalise(apply_geometry(images, geometry, pad), mean, std), geometry, noise)
        for images in (raw, shielding)
    ]
    return views[0], views[1]
