"""The augmented views of an image: raw and shielding share one flip, one crop and one erased box.

On a CPU the work goes image by image through slices, since a slice's copy stays in the processor's cache; that is
several times faster than one indexed gather for the batch (``benchmarks/reading.py``).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.buffers import Buffers
from pipeline.models.preprocess import pixel_constants, standardise

Planes = NDArray[np.uint8]

ERASE_AREA = (0.02, 1 / 3)  # share of the image; with the aspect below the values of Zhong et al. 2020
ERASE_ASPECT = (0.3, 1 / 0.3)
ERASE_TRIES = 10  # a box that does not fit is drawn again, as in the reference method; then nothing is erased


@dataclass(frozen=True)
class Geometry:
    """What is done to each image of a batch; every array has B rows.

    Attributes:
        flip: Mirror left and right, (B,).
        offset: Top and left corner of the crop in the padded image, in pixels, (B, 2).
        box: Top, left, height and width of the erased box in pixels, (B, 4); height 0 where nothing is erased.
        noise_seed: Of the noise in the box, (B,).
    """

    flip: NDArray[np.bool_]
    offset: NDArray[np.int64]
    box: NDArray[np.int64]
    noise_seed: NDArray[np.int64]

    def part(self, start: int, stop: int) -> "Geometry":
        """That of some images of the batch."""
        cut = slice(start, stop)
        return Geometry(self.flip[cut], self.offset[cut], self.box[cut], self.noise_seed[cut])

    def noise(self) -> list[NDArray[np.float32] | None]:
        """Normal noise for each box, (3, box height, box width); None where nothing is erased."""
        return [
            np.random.default_rng(seed).standard_normal((3, tall, wide), dtype=np.float32) if tall else None
            for seed, (_, _, tall, wide) in zip(self.noise_seed.tolist(), self.box.tolist(), strict=True)
        ]


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
    if not erased.any():
        return Geometry(flip, offset, np.zeros((count, 4), dtype=np.int64), np.zeros(count, dtype=np.int64))
    box = _draw_boxes(generator, count, size)
    return Geometry(flip, offset, np.where(erased[:, None], box, 0), generator.integers(1 << 62, size=count))


def _draw_boxes(generator: np.random.Generator, count: int, size: tuple[int, int]) -> NDArray[np.int64]:
    height, width = size
    area = generator.uniform(*ERASE_AREA, size=(count, ERASE_TRIES)) * height * width
    low, high = np.log(ERASE_ASPECT).tolist()
    aspect = np.exp(generator.uniform(low, high, size=(count, ERASE_TRIES)))
    sides = np.rint(np.sqrt(np.stack([area * aspect, area / aspect], axis=2))).astype(np.int64)
    fits: NDArray[np.bool_] = np.all((sides > 0) & (sides < (height, width)), axis=2)
    first = sides[np.arange(count), fits.argmax(axis=1)]
    corner = np.floor(generator.random((count, 2)) * (np.array([height, width]) - first + 1)).astype(np.int64)
    return np.where(np.any(fits, axis=1)[:, None], np.concatenate([corner, first], axis=1), 0)


def _crop(image: Planes, flip: bool, down: int, right: int, out: Planes) -> None:
    """Shift one image (3, H, W) up and left by so many pixels, black where there is none, and flip it into ``out``."""
    height, width = image.shape[1:]
    out.fill(0)
    view = out[:, :, ::-1] if flip else out
    view[:, max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)] = image[
        :, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)
    ]


def _crops(geometry: Geometry, pad: int, size: tuple[int, int]) -> list[tuple[bool, int, int]]:
    """Arguments of :func:`_crop`."""
    shift = np.clip(geometry.offset - pad, np.negative(size), size).tolist()
    return [(flip, down, right) for flip, (down, right) in zip(geometry.flip.tolist(), shift, strict=True)]


def crop_and_flip(images: Planes, geometry: Geometry, pad: int = 10) -> Planes:
    """Pad with black, crop and flip: uint8 (B, 3, H, W) to the same shape."""
    height, width = images.shape[2:]
    views = np.empty_like(images)
    for image, view, crop in zip(images, views, _crops(geometry, pad, (height, width)), strict=True):
        _crop(image, *crop, view)
    return views


def erasing(geometry: Geometry, noise: list[NDArray[np.float32] | None]) -> dict[str, NDArray[Any]]:
    """What :func:`finish_view` needs of the erased boxes: ``box`` and the boxes' ``noise`` in a row, image by image."""
    drawn = [part.reshape(-1) for part in noise if part is not None]
    return {"box": geometry.box, "noise": np.concatenate(drawn) if drawn else np.zeros(0, dtype=np.float32)}


def finish_view(cropped: Tensor, shift: Tensor, scale: Tensor, box: Tensor, noise: Tensor) -> Tensor:
    """The rest of :func:`augment` on a device, without a copy to it and without waiting for it.

    Args:
        cropped: :func:`crop_and_flip`, uint8 (B, 3, H, W).
        shift: See :func:`pixel_constants`.
        scale: See :func:`pixel_constants`.
        box: See :class:`Geometry`.
        noise: See :func:`erasing`.
    """
    view = standardise(cropped, shift, scale)
    if not len(noise):
        return view
    top, left, tall, wide = (side[:, None] for side in box.unbind(dim=1))
    down, right = (torch.arange(side, device=view.device) for side in view.shape[2:])
    rows, columns = (down >= top) & (down < top + tall), (right >= left) & (right < left + wide)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    # takes the noise in the order of the pixels: image by image, channel by channel, as it was drawn
    return view.masked_scatter_(inside.expand_as(view), noise)


def augment(
    images: Planes,
    geometry: Geometry,
    noise: list[NDArray[np.float32] | None],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    pad: int = 10,
    buffers: Buffers | None = None,
) -> Tensor:
    """Augmented, normalised view of each image, float32 (B, 3, H, W), on the CPU; see :func:`finish_view` for a GPU.

    Args:
        images: uint8, (B, 3, H, W).
        geometry: What to do.
        noise: :meth:`Geometry.noise`.
        mean: See :func:`normalise`.
        std: See :func:`normalise`.
        pad: Pixels of black padding before the crop; as in :func:`draw_geometry`.
        buffers: Where memory comes from.
    """
    boxes = [(number, box) for number, box in enumerate(geometry.box.tolist()) if box[2]]
    # the same as :func:`normalise`, bit for bit, in the calling thread alone and into memory that is there already
    array = (buffers or Buffers()).take(images.shape, np.float32)
    shift, scale = (constant[:, None, None] for constant in pixel_constants(mean, std))
    cropped_one = np.empty(images.shape[1:], dtype=np.uint8)
    for image, target, crop in zip(images, array, _crops(geometry, pad, images.shape[2:]), strict=True):
        _crop(image, *crop, cropped_one)
        target[...] = cropped_one
        target -= shift
        target /= scale
    for number, (top, left, tall, wide) in boxes:
        array[number, :, top : top + tall, left : left + wide] = noise[number]
    return torch.from_numpy(array)
