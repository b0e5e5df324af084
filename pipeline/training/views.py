"""The augmented views of an image: raw and shielding share one flip, one crop and one erased box.

On a CPU the work goes image by image through slices, since a slice's copy stays in the processor's cache; that is
several times faster than one indexed gather for the batch (``benchmarks/reading.py``).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.preprocess import normalise
from pipeline.training.buffers import Buffers

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


def crop_and_flip(images: Planes, geometry: Geometry, pad: int = 10) -> Planes:
    """Pad with black, crop and flip: uint8 (B, 3, H, W) to the same shape."""
    height, width = images.shape[2:]
    views = np.zeros_like(images)
    shift = np.clip(geometry.offset - pad, (-height, -width), (height, width))
    rows = zip(geometry.flip.tolist(), shift.tolist(), strict=True)
    for index, (flip, (down, right)) in enumerate(rows):
        view = views[index, :, :, ::-1] if flip else views[index]
        view[:, max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)] = images[
            index, :, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)
        ]
    return views


def _normalise(images: Planes, mean: tuple[float, ...], std: tuple[float, ...], out: NDArray[np.float32]) -> None:
    """As :func:`normalise`, bit for bit, in the calling thread alone and into memory that is there already."""
    shift = (np.array(mean, dtype=np.float32) * np.float32(255.0))[:, None, None]
    scale = (np.array(std, dtype=np.float32) * np.float32(255.0))[:, None, None]
    for image, target in zip(images, out, strict=True):
        target[...] = image
        target -= shift
        target /= scale


def augment(
    images: Planes,
    geometry: Geometry,
    noise: list[NDArray[np.float32] | None],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    pad: int = 10,
    device: str = "cpu",
    buffers: Buffers | None = None,
) -> Tensor:
    """Augmented, normalised view of each image, float32 (B, 3, H, W) on ``device``.

    Args:
        images: uint8, (B, 3, H, W).
        geometry: What to do.
        noise: :meth:`Geometry.noise`.
        mean: See :func:`normalise`.
        std: See :func:`normalise`.
        pad: Pixels of black padding before the crop; as in :func:`draw_geometry`.
        device: Where the view is made, after the crop.
        buffers: Where memory comes from.
    """
    cropped = crop_and_flip(images, geometry, pad)
    boxes = [(number, box) for number, box in enumerate(geometry.box.tolist()) if box[2]]
    if torch.device(device).type != "cpu":
        view = normalise(torch.from_numpy(cropped).to(device).permute(0, 2, 3, 1), mean, std)
        for number, (top, left, tall, wide) in boxes:
            view[number, :, top : top + tall, left : left + wide] = torch.from_numpy(noise[number]).to(device)
        return view
    array = (buffers or Buffers()).take(cropped.shape)
    _normalise(cropped, mean, std, array)
    for number, (top, left, tall, wide) in boxes:
        array[number, :, top : top + tall, left : left + wide] = noise[number]
    return torch.from_numpy(array)
