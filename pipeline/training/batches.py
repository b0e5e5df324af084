"""The batches of stage 2: which images are in one, their augmented views and their classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.training.classes import Labels
from pipeline.training.loop import Epoch
from pipeline.training.sampler import IdentitySampler
from pipeline.training.store import ImageStore
from pipeline.training.views import paired_views


@dataclass(frozen=True)
class EncoderBatch:
    """Augmented views of P identities x K images.

    Attributes:
        raw: x, (B, 3, H, W), normalised.
        shielding: x_s with the same geometry, (B, 3, H, W).
        identities: Class numbers, (B,).
        clothes_classes: Class numbers, (B,); ``NO_CLASS`` where an image has none.
        rows: Position of each image among the training images, (B,); None where nobody looks anything up by it.
    """

    raw: Tensor
    shielding: Tensor
    identities: Tensor
    clothes_classes: Tensor
    rows: Tensor | None = None


@dataclass(frozen=True)
class EncoderData:
    """Where stage 2 takes its batches from.

    Attributes:
        store: Decoded images.
        rows: The store's index of each training image, (N,).
        identities: Class numbers, (N,).
        clothes_classes: Class numbers, (N,).
        sampler: Deals out positions in ``rows``.
        mean: See :func:`pipeline.models.preprocess.normalise`.
        std: See :func:`pipeline.models.preprocess.normalise`.
        flip_probability: See :func:`paired_views`.
        pad: See :func:`paired_views`.
        erase_probability: See :func:`paired_views`.
        seed: Root of the augmentation's generators.
        device: Where batches go.
    """

    store: ImageStore
    rows: Labels
    identities: Labels
    clothes_classes: Labels
    sampler: IdentitySampler
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip_probability: float = 0.5
    pad: int = 10
    erase_probability: float = 0.5
    seed: int = 0
    device: str = "cpu"

    def epoch(self, number: int) -> Epoch[EncoderBatch]:
        """The batches of an epoch; the same number gives the same batches and augmentations."""
        batches = self.sampler.epoch(number)
        return Epoch(len(batches), self._batches(number, batches))

    def _batches(self, number: int, batches: list[Labels]) -> Iterator[EncoderBatch]:
        generator = np.random.default_rng([self.seed, number, 1])
        for positions in batches:
            raw, shielding = self.store.pairs(self.rows[positions].tolist())
            views = paired_views(
                raw.to(self.device),
                shielding.to(self.device),
                generator,
                mean=self.mean,
                std=self.std,
                flip_probability=self.flip_probability,
                pad=self.pad,
                erase_probability=self.erase_probability,
            )
            yield EncoderBatch(
                raw=views[0],
                shielding=views[1],
                identities=torch.from_numpy(self.identities[positions]).to(self.device),
                clothes_classes=torch.from_numpy(self.clothes_classes[positions]).to(self.device),
                rows=torch.from_numpy(positions).to(self.device),
            )
