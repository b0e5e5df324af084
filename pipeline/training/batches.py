"""The batches of stage 2: which images are in one, their augmented views and their classes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline.buffers import Buffers
from pipeline.overlap import prefetch
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import PAIR, ImageStore
from pipeline.trainer.task import Epoch
from pipeline.training.classes import NO_CLASS, Labels
from pipeline.training.redressing import Dresser
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import ViewSettings
from pipeline.training.views import augment, draw_geometry


@dataclass(frozen=True)
class EncoderBatch:
    """Augmented views of P identities x K images.

    Attributes:
        raw: x, (B, 3, H, W), normalised.
        shielding: x_s with the same geometry, (B, 3, H, W); None where the method has no use for it.
        identities: Class numbers, (B,).
        clothes_classes: Class numbers of what the raw view wears, (B,); ``NO_CLASS`` where it has none.
        rows: Position of each image among the training images, (B,); None where nobody looks anything up by it.
        cameras: The data set's camera ids, (B,); ``NO_CLASS`` where one is not known.
    """

    raw: Tensor
    shielding: Tensor | None
    identities: Tensor
    clothes_classes: Tensor
    rows: Tensor | None = None
    cameras: Tensor | None = None


@dataclass(frozen=True)
class EncoderData:
    """Where stage 2 takes its batches from.

    A batch is a function of the seed, the epoch and the step alone: any step of any epoch can be made again, by any
    number of threads, and the ranks of a distributed run together see what one process sees.

    Attributes:
        store: Decoded images.
        rows: The store's index of each training image, (N,).
        identities: Class numbers, (N,).
        clothes_classes: Class numbers, (N,).
        sampler: Deals out positions in ``rows``.
        mean: See :func:`pipeline.models.preprocess.normalise`.
        std: See :func:`pipeline.models.preprocess.normalise`.
        views: How views are augmented.
        loading: With how many threads, and how far ahead, batches are made.
        seed: Root of the augmentation's generators.
        device: Where batches go.
        cameras: Camera ids, (N,), negative where one is not known; None: not known for any.
        shielding: Whether batches have shielding views; without them only raw images are read.
        dresser: Changes the clothes of raw views; None: all stay as they are.
        buffers: Memory of the views.
    """

    store: ImageStore
    rows: Labels
    identities: Labels
    clothes_classes: Labels
    sampler: IdentitySampler
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    views: ViewSettings = field(default_factory=ViewSettings)
    loading: LoadingSettings = field(default_factory=LoadingSettings)
    seed: int = 0
    device: str = "cpu"
    cameras: Labels | None = None
    shielding: bool = True
    dresser: Dresser | None = None
    buffers: Buffers = field(default_factory=Buffers, repr=False, compare=False)

    def epoch(self, number: int, start_step: int = 0, rank: int = 0, world: int = 1) -> Epoch[EncoderBatch]:
        """The batches of an epoch; the same number gives the same batches and augmentations.

        Args:
            number: From 0.
            start_step: First batch to make; :attr:`Epoch.steps` counts all of the epoch's.
            rank: Which share of each batch, see :meth:`IdentitySampler.epoch`.
            world: How many shares.

        Raises:
            InputError: A batch cannot be shared out to ``world`` ranks.
        """
        positions = self.sampler.epoch(number, rank, world)
        return Epoch(len(positions), self._batches(number, positions, start_step, rank, world))

    def _batches(
        self, number: int, positions: Labels, start_step: int, rank: int, world: int
    ) -> Iterator[EncoderBatch]:
        def make(step: int) -> EncoderBatch:
            return self._make(number, step, positions[step], rank, world)

        return prefetch(make, range(start_step, len(positions)), self.loading.threads, self.loading.ahead)

    def _make(self, number: int, step: int, positions: Labels, rank: int, world: int) -> EncoderBatch:
        count = len(positions)
        images = self.store.planes(PAIR if self.shielding else ("raw",), self.rows[positions])
        clothes_classes = self.clothes_classes[positions]
        if self.dresser is not None:
            dressed = self.dresser.dress(
                images[0], self.rows[positions], clothes_classes, [self.seed, number, step], rank, world
            )
            images[0], clothes_classes = dressed.raw, dressed.clothes_classes
        # every rank draws for the whole batch and takes its part, so that the views do not depend on their number
        geometries = [
            draw_geometry(
                np.random.default_rng([self.seed, number, step, stream]),
                count * world,
                self.store.size,
                self.views.flip_probability,
                self.views.pad,
                self.views.erase_probability,
            ).part(rank * count, (rank + 1) * count)
            for stream in range(2 if self.shielding and self.views.view_geometry == "independent" else 1)
        ]
        noises = [geometry.noise() for geometry in geometries]
        raw, *others = (
            augment(
                planes,
                geometries[stream],
                noises[stream],
                mean=self.mean,
                std=self.std,
                pad=self.views.pad,
                device=self.device,
                buffers=self.buffers,
            )
            for planes, stream in zip(images, (0, len(geometries) - 1)[: len(images)], strict=True)
        )
        return EncoderBatch(
            raw=raw,
            shielding=others[0] if others else None,
            identities=self._labels(self.identities, positions),
            clothes_classes=torch.from_numpy(clothes_classes).to(self.device),
            cameras=self._labels(self.cameras, positions)
            if self.cameras is not None
            else torch.full((count,), NO_CLASS, device=self.device),
            rows=torch.from_numpy(positions).to(self.device),
        )

    def _labels(self, labels: Labels, positions: Labels) -> Tensor:
        return torch.from_numpy(labels[positions]).to(self.device)
