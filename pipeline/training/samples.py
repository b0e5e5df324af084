"""Decoded samples of a shard folder by identity: for anybody's training loop, and for a look at the data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import InputError
from pipeline.overlap import prefetch
from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings, PixelPolicy
from pipeline.shards.store import ImageStore, open_store
from pipeline.training.classes import index_classes
from pipeline.training.sampler import IdentitySampler, Indices, Spread


@dataclass(frozen=True)
class SampleBatch:
    """Some images with their labels; ids are the data set's, -1 where it has none.

    Attributes:
        index: Position in the shard folder, (B,).
        image_id: Names, (B,), objects of str.
        person_id: (B,).
        camera_id: (B,).
        clothes_id: (B,).
        raw: uint8, (B, H, W, 3).
        shielding: uint8, (B, H, W, 3).
    """

    index: Indices
    image_id: NDArray[np.object_]
    person_id: NDArray[np.int64]
    camera_id: NDArray[np.int32]
    clothes_id: NDArray[np.int64]
    raw: Tensor
    shielding: Tensor


class Samples:
    """Random access to decoded samples. Thread-safe, cheap to pickle.

    Args:
        reader: The shards.
        store: Their images.
        rows: Indices of the images that belong, ascending.
    """

    def __init__(self, reader: ShardReader, store: ImageStore, rows: Indices) -> None:
        self.reader = reader
        self.store = store
        self.rows = rows
        persons = reader.ids.person_id[rows]
        self._by_person = rows[np.argsort(persons, kind="stable")]
        self.identities, counts = np.unique(persons, return_counts=True)
        self._ends = np.cumsum(counts)

    def __reduce__(self) -> tuple[type["Samples"], tuple[ShardReader, ImageStore, Indices]]:
        return type(self), (self.reader, self.store, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Sequence[int] | Indices) -> SampleBatch:
        """The images at some positions of the shard folder, in the order given."""
        index = np.asarray(indices, dtype=np.int64)
        ids = self.reader.ids
        raw, shielding = self.store.pairs(index)
        return SampleBatch(
            index,
            ids.image_id[index],
            ids.person_id[index],
            ids.camera_id[index],
            ids.clothes_id[index],
            raw,
            shielding,
        )

    def of_identity(self, person_id: int) -> SampleBatch:
        """All images of a person, in the order of the shards.

        Raises:
            InputError: There is no such person among the images that belong.
        """
        place = int(np.searchsorted(self.identities, person_id))
        if place == len(self.identities) or self.identities[place] != person_id:
            raise InputError(f"no image of person {person_id} among these {len(self)} of {self.reader.folder}")
        return self.batch(self._by_person[self._ends[place - 1] if place else 0 : self._ends[place]])

    def batches(
        self,
        identities: int = 16,
        images: int = 4,
        seed: int = 0,
        epoch: int = 0,
        spread: Spread = "none",
        threads: int = 2,
        ahead: int = 4,
    ) -> Iterator[SampleBatch]:
        """An epoch of P identities x K images, see :class:`IdentitySampler`; persons below 0 are left out."""
        ids = self.reader.ids
        sampler = IdentitySampler(
            index_classes(ids.person_id[self.rows]).labels,
            identities,
            images,
            seed,
            spread=spread,
            outfits=ids.clothes_id[self.rows],
            cameras=ids.camera_id[self.rows].astype(np.int64),
        )
        return prefetch(self.batch, (self.rows[positions] for positions in sampler.epoch(epoch)), threads, ahead)


def open_samples(
    folder: Path | str,
    size: tuple[int, int],
    split: str | list[str] | None = None,
    policy: PixelPolicy = "auto",
    cache: Path | None = None,
) -> Samples:
    """Open the images of a split, of several, or of all, at ``size`` (height, width).

    Args:
        folder: A finished shard folder.
        size: Height and width in pixels.
        split: Names of splits; None: all images.
        policy: See :func:`pipeline.shards.store.open_store`.
        cache: Where local copies are kept; None: ``$CCAF_CACHE`` if set, else ``.cache`` beside the folder.

    Raises:
        InputError: The shards are missing or damaged, or a split does not occur.
        WorkError: The local copies cannot be written.
    """
    reader = ShardReader(folder, cache)
    rows = np.arange(len(reader), dtype=np.int64) if split is None else reader.select(split)
    return Samples(reader, open_store(reader, rows, size, LoadingSettings(pixels=policy), folder=cache), rows)
