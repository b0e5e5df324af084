"""Batches of decoded images at the model's size: gathered from memory-mapped pixels, or decoded by a few threads."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.buffers import Buffers
from pipeline.errors import WorkError
from pipeline.parsing.masks import Fill
from pipeline.progress import Progress
from pipeline.shards.cache import default_cache_folder
from pipeline.shards.pixels import ImageSource, PixelCache, PixelFiles, Planes, View, open_pixels, render
from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings

DEFAULT_LOADING = LoadingSettings()
PAIR: tuple[View, View] = ("raw", "shielding")


def decode_threads() -> int:
    """Threads that decode images where nothing else is said: one for each CPU of this process, and at least four."""
    return max(4, len(os.sched_getaffinity(0)))


class ImageStore:
    """Batches of raw, shielding and clothes images at the model's size.

    Shielding and clothes images are made at the original size and then resized like the raw image. Views that
    ``pixels`` holds are gathered from there; all others are decoded at each use. Both give the same bytes, and neither
    keeps images in this process's memory. Thread-safe, and cheap to pickle if its source is.

    Args:
        source: Where images and masks come from.
        size: Height and width of the model's input in pixels.
        fill: What covered pixels are painted with.
        threads: Threads that decode.
        pixels: Decoded images at ``size``, with the same indices as ``source``.
        note: Why there are no such pixels, for a person.
    """

    def __init__(
        self,
        source: ImageSource,
        size: tuple[int, int],
        fill: Fill = "white",
        threads: int = 4,
        pixels: PixelCache | None = None,
        note: str | None = None,
    ) -> None:
        self._source = source
        self.size = size
        self._fill: Fill = fill
        self._threads = threads
        self._pixels = pixels
        self.note = note
        self._buffers = Buffers()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def __reduce__(self) -> tuple[type["ImageStore"], tuple[Any, ...]]:
        return type(self), (self._source, self.size, self._fill, self._threads, self._pixels, self.note)

    def planes(self, views: Sequence[View], indices: Sequence[int] | NDArray[np.int64]) -> list[Planes]:
        """Views of some images, uint8 (B, 3, H, W) each; the arrays are the caller's own.

        Raises:
            BadImageError: An image cannot be decoded.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if self._pixels is not None and set(views) <= set(self._pixels.views):
            positions = self._pixels.positions(wanted)
            if positions is not None:
                shape = (len(positions), 3, *self.size)
                return [self._pixels.read(view, positions, self._buffers.take(shape, np.uint8)) for view in views]
        made = self._pool.map(lambda row: render(self._source, int(row), self.size, self._fill, views), wanted)
        batch = [np.empty((len(wanted), 3, *self.size), dtype=np.uint8) for _ in views]
        for number, rendered in enumerate(made):
            for array, image in zip(batch, rendered, strict=True):
                array[number] = image
        return batch

    def _images(self, view: View, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.planes([view], indices)[0]).permute(0, 2, 3, 1)

    def pairs(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Raw and shielding images, uint8 (B, H, W, 3) each."""
        raw, shielding = (torch.from_numpy(planes).permute(0, 2, 3, 1) for planes in self.planes(PAIR, indices))
        return raw, shielding

    def raw(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Raw images alone (no mask is read), uint8 (B, H, W, 3)."""
        return self._images("raw", indices)

    def shielding(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Shielding images, uint8 (B, H, W, 3)."""
        return self._images("shielding", indices)

    def clothes(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Clothes images, uint8 (B, H, W, 3)."""
        return self._images("clothes", indices)


def open_store(
    reader: ShardReader,
    rows: NDArray[np.int64],
    size: tuple[int, int],
    loading: LoadingSettings = DEFAULT_LOADING,
    *,
    views: Sequence[View] = PAIR,
    build: bool = True,
    folder: Path | None = None,
    threads: int = 0,
    quiet: bool = True,
) -> ImageStore:
    """A store of some images of a shard folder, with their decoded pixels on local disk where that pays and fits.

    Args:
        reader: The shards.
        rows: Images that the decoded pixels are kept of; the store itself reads all images of the shards.
        size: Height and width in pixels.
        loading: Whether decoded pixels are kept, and how much of them: ``auto`` decodes at each use where the disk
            lacks room (:attr:`ImageStore.note` says so); ``always`` makes that an error; ``never`` keeps no pixels.
        views: Views that the decoded pixels are kept of; the store itself gives all views.
        build: Whether ``auto`` may make missing files; images that are read once are not worth it.
        folder: Where the files are kept; None: ``$CCAF_CACHE`` if set, else ``.cache`` beside the shard folder.
        threads: Threads that decode; 0: one for each CPU of this process, and at least four.
        quiet: No progress line.

    Raises:
        InputError: An image of the shards cannot be decoded, or a file of pixels is damaged.
        WorkError: The files cannot be written.
    """
    fill = reader.metadata.fill
    settings: dict[str, Any] = {"fill": fill, "threads": threads or decode_threads()}
    if loading.pixels == "never":
        return ImageStore(reader, size, **settings)
    place = folder or default_cache_folder(reader.folder)
    files = PixelFiles(place, reader.folder, reader.record_sha256, np.unique(rows), size, fill)
    missing = files.missing(views)
    if missing and loading.pixels == "auto" and not build:
        return ImageStore(reader, size, **settings)
    lacking = files.lacking_room(views, loading.gigabytes * 1e9)
    if lacking is not None:
        if loading.pixels == "always":
            raise WorkError(f"{lacking}: free space, name another folder in $CCAF_CACHE, or set loading.pixels=auto")
        return ImageStore(reader, size, **settings, note=f"images are decoded at each use: {lacking}")
    with Progress(len(files.rows), "decode", "image", quiet or not missing) as progress:
        pixels = open_pixels(reader, files, views, threads, progress.advance)
    return ImageStore(reader, size, **settings, pixels=pixels)
