"""Decoded, resized images of a data set, read in parallel and kept as long as memory allows."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.images import Mask, RgbImage
from pipeline.models.preprocess import resize_image
from pipeline.parsing.masks import Fill, clothes_image, shielding_image


class ImageSource(Protocol):
    """Random access to parsed images, as a shard reader gives it."""

    def image(self, index: int) -> RgbImage:
        """The original image, uint8 (height, width, 3)."""

    def mask(self, index: int) -> Mask:
        """Its clothes mask, boolean (height, width)."""


class ImageStore:
    """Batches of raw, shielding and clothes images at the model's size.

    Shielding and clothes images are made at the original size and then resized like the raw image. Decoded raw and
    shielding images are kept in memory up to ``memory_bytes``; what does not fit is decoded again each time.

    Args:
        source: Where images and masks come from.
        size: Height and width of the model's input in pixels.
        fill: What covered pixels are painted with.
        memory_bytes: Budget for kept images.
        threads: Threads that decode.
    """

    def __init__(
        self,
        source: ImageSource,
        size: tuple[int, int],
        fill: Fill = "white",
        memory_bytes: int = 2 << 30,
        threads: int = 4,
    ) -> None:
        self._source = source
        self._size = size
        self._fill = fill
        self._room = memory_bytes // (2 * size[0] * size[1] * 3)
        self._kept: dict[int, tuple[RgbImage, RgbImage]] = {}
        self._pool = ThreadPoolExecutor(threads)

    def _pair(self, index: int) -> tuple[RgbImage, RgbImage]:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image, mask = self._source.image(index), self._source.mask(index)
        pair = (
            resize_image(image, self._size),
            resize_image(shielding_image(image, mask, self._fill), self._size),
        )
        if len(self._kept) < self._room:
            self._kept[index] = pair
        return pair

    def _clothes(self, index: int) -> RgbImage:
        image, mask = self._source.image(index), self._source.mask(index)
        return resize_image(clothes_image(image, mask, self._fill), self._size)

    def pairs(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Raw and shielding images, uint8 (B, H, W, 3) each."""
        pairs = list(self._pool.map(self._pair, [int(index) for index in indices]))
        return (
            torch.from_numpy(np.stack([raw for raw, _ in pairs])),
            torch.from_numpy(np.stack([shielding for _, shielding in pairs])),
        )

    def raw(self, indices: Sequence[int]) -> Tensor:
        """Raw images alone (no mask is read), uint8 (B, H, W, 3)."""
        images = self._pool.map(lambda index: resize_image(self._source.image(int(index)), self._size), indices)
        return torch.from_numpy(np.stack(list(images)))

    def shielding(self, indices: Sequence[int]) -> Tensor:
        """Shielding images, uint8 (B, H, W, 3)."""
        return self.pairs(indices)[1]

    def clothes(self, indices: Sequence[int]) -> Tensor:
        """Clothes images, uint8 (B, H, W, 3)."""
        return torch.from_numpy(np.stack(list(self._pool.map(self._clothes, [int(index) for index in indices]))))
