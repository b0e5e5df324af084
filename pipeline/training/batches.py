"""The batches of stage 2: which images are in one, their augmented views and their classes."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.buffers import Buffers
from pipeline.losses.terms import Known
from pipeline.models.preprocess import pixel_constants
from pipeline.overlap import prefetch
from pipeline.shards.pixels import View
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import PAIR, ImageStore
from pipeline.trainer.task import Epoch
from pipeline.training.classes import NO_CLASS, Labels
from pipeline.training.redressing import Dresser
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import ViewSettings
from pipeline.training.views import augment, crop_and_flip, draw_geometry, erasing, finish_view
from pipeline.transfer import Carrier, Sent


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
        known: Of the labels of all ranks; None: it is found out by the terms that need it.
    """

    raw: Tensor
    shielding: Tensor | None
    identities: Tensor
    clothes_classes: Tensor
    rows: Tensor | None = None
    cameras: Tensor | None = None
    known: Known | None = None


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
        everyone = positions if world == 1 else self.sampler.epoch(number)
        carrier = Carrier(self.device)

        def make(step: int) -> Made:
            return self._make(carrier, (number, step), positions[step], everyone[step], rank, world)

        steps = range(start_step, len(positions))
        with closing(prefetch(make, steps, self.loading.threads, self.loading.ahead)) as made:
            for batch in made:
                yield self._finish(batch)

    def _make(
        self, carrier: Carrier, place: tuple[int, int], positions: Labels, everyone: Labels, rank: int, world: int
    ) -> "Made":
        """What threads make ahead: on a CPU the views, for a GPU the images that it makes views from."""
        count = len(positions)
        names: tuple[View, ...] = PAIR if self.shielding else ("raw",)
        images = self.store.planes(names, self.rows[positions])
        worn = self.clothes_classes[positions]
        if self.dresser is not None:
            dressed = self.dresser.dress(images[0], self.rows[positions], worn, [self.seed, *place], rank, world)
            images[0], worn = dressed.raw, dressed.clothes_classes
        # every rank draws for the whole batch and takes its part, so that the views do not depend on their number
        geometries = [
            draw_geometry(
                np.random.default_rng([self.seed, *place, stream]),
                count * world,
                self.store.size,
                self.views.flip_probability,
                self.views.pad,
                self.views.erase_probability,
            ).part(rank * count, (rank + 1) * count)
            for stream in range(2 if self.shielding and self.views.view_geometry == "independent" else 1)
        ]
        noises = [geometry.noise() for geometry in geometries]
        streams = (0, len(geometries) - 1)[: len(images)]
        arrays = self._labels(positions, worn, everyone)
        if torch.device(self.device).type == "cpu":
            views = [
                augment(
                    planes,
                    geometries[stream],
                    noises[stream],
                    mean=self.mean,
                    std=self.std,
                    pad=self.views.pad,
                    buffers=self.buffers,
                )
                for planes, stream in zip(images, streams, strict=True)
            ]
            return Made(carrier.send(arrays), views, streams)
        arrays |= zip(("shift", "scale"), pixel_constants(self.mean, self.std), strict=True)
        for stream, (geometry, noise) in enumerate(zip(geometries, noises, strict=True)):
            arrays |= {f"{name}-{stream}": array for name, array in erasing(geometry, noise).items()}
        for view, (planes, stream) in enumerate(zip(images, streams, strict=True)):
            arrays[f"images-{view}"] = crop_and_flip(planes, geometries[stream], self.views.pad)
        return Made(carrier.send(arrays), [], streams)

    def _finish(self, made: "Made") -> EncoderBatch:
        """The batch, from what a thread made of it."""
        sent = made.sent.take()
        raw, *others = made.views or [
            finish_view(
                sent[f"images-{view}"], sent["shift"], sent["scale"], sent[f"box-{stream}"], sent[f"noise-{stream}"]
            )
            for view, stream in enumerate(made.streams)
        ]
        return EncoderBatch(
            raw=raw,
            shielding=others[0] if others else None,
            identities=sent["identities"],
            clothes_classes=sent["clothes_classes"],
            cameras=sent["cameras"],
            rows=sent["rows"],
            known=Known(sent["dressed"], sent["members"], sent["counts"]) if "dressed" in sent else None,
        )

    def _labels(self, positions: Labels, worn: Labels, everyone: Labels) -> dict[str, NDArray[Any]]:
        """Labels of this rank's images, and what is known of those of all ranks: not what others were redressed in."""
        unknown = np.full(len(positions), NO_CLASS, dtype=np.int64)
        labels: dict[str, NDArray[Any]] = {
            "identities": self.identities[positions],
            "clothes_classes": worn,
            "cameras": unknown if self.cameras is None else self.cameras[positions],
            "rows": positions,
        }
        alone = len(everyone) == len(positions)
        if self.dresser is not None and not alone:
            return labels
        _, members, counts = np.unique(self.identities[everyone], return_inverse=True, return_counts=True)
        of_all = worn if alone else self.clothes_classes[everyone]
        known: dict[str, NDArray[Any]] = {
            "dressed": np.flatnonzero(of_all >= 0),
            "members": members,
            "counts": counts.astype(np.float32),
        }
        return labels | known


@dataclass(frozen=True)
class Made:
    """A batch as a thread leaves it.

    Attributes:
        sent: Labels, and for a GPU the images with what :func:`finish_view` needs besides, by names with numbers.
        views: The finished views; none for a GPU.
        streams: Number of each view's geometry.
    """

    sent: Sent
    views: list[Tensor]
    streams: tuple[int, ...]
