"""The batches of one epoch: photographs and walkers, shuffled and augmented, all from one seed."""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.parsing.lite.targets import LIP_NUMBER
from pipeline.parsing.lite.training.augment import Augmentation, augment, augment_walker
from pipeline.parsing.lite.training.crops import Example

Batch = tuple[Tensor, Tensor]
OFTENER: Final = tuple(
    LIP_NUMBER[name] for name in ("hat", "glove", "sunglasses", "socks", "scarf", "jumpsuits", "skirt")
)
"""Labels whose photographs :attr:`BatchMaker.rare_share` draws once more."""


@dataclass(frozen=True)
class BatchMaker:
    """Makes the batches of any epoch; equal arguments and epoch numbers give equal batches.

    Attributes:
        photos: Training photographs, each with a person.
        walkers: Training walkers; may be empty.
        walkers_share: Share of walkers among an epoch's images, where there are walkers.
        batch_size: Images in a batch; the last one may be smaller.
        seed: Of the order and every random change.
        augmentation: Of the photographs.
        rare_share: Share of further photographs with a rare label among an epoch's photographs.
        unlabelled: Crops with targets that a parser agreed on; may be empty.
        unlabelled_share: Share of such crops among an epoch's images, beside photographs and walkers.
    """

    photos: Sequence[Example]
    walkers: Sequence[Example]
    walkers_share: float
    batch_size: int
    seed: int
    augmentation: Augmentation
    rare_share: float = 0.0
    unlabelled: Sequence[Example] = ()
    unlabelled_share: float = 0.0

    @cached_property
    def rare(self) -> list[list[int]]:
        """Places of the photographs that show each of the rare labels, of those labels that any shows."""
        labels = [set(np.unique(photo.target).tolist()) for photo in self.photos]
        places = [[place for place, shown in enumerate(labels) if label in shown] for label in OFTENER]
        return [those for those in places if those]

    @property
    def rare_per_epoch(self) -> int:
        """Photographs with rare labels drawn for an epoch, beside every photograph once."""
        share = self.rare_share
        return round(len(self.photos) * share / (1 - share)) if share and self.rare else 0

    @property
    def walkers_per_epoch(self) -> int:
        """Walkers drawn for an epoch, beside every photograph once."""
        return round(len(self.photos) * self.walkers_share / (1 - self.walkers_share)) if self.walkers else 0

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return math.ceil((self._labelled_per_epoch + self.unlabelled_per_epoch) / self.batch_size)

    @property
    def _labelled_per_epoch(self) -> int:
        return len(self.photos) + self.walkers_per_epoch + self.rare_per_epoch

    @property
    def unlabelled_per_epoch(self) -> int:
        """Crops without labels drawn for an epoch."""
        share = self.unlabelled_share
        return round(self._labelled_per_epoch * share / (1 - share)) if self.unlabelled else 0

    def epoch(self, number: int, size: tuple[int, int], strength: float = 1.0) -> Iterator[Batch]:
        """Images uint8 (batch, height, width, 3) and targets uint8 (batch, height, width) of ``size``.

        ``strength`` is a factor of the augmentation's probabilities. The next batches are made while the
        network works on this one.
        """
        places = self._order(number)
        groups = [places[start : start + self.batch_size] for start in range(0, len(places), self.batch_size)]
        dataset = _EpochBatches(self, groups, number, size, self.augmentation.times(strength))
        # a process of its own: with a thread, training would wait for the interpreter's lock at every small operator
        if sys.platform == "linux":
            yield from DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="fork")
        else:
            yield from (dataset[index] for index in range(len(groups)))

    def _order(self, number: int) -> list[int]:
        """Shuffled places: every photograph once, and drawn ones of the walkers and then the crops without labels."""
        order = np.random.default_rng((self.seed, number))
        drawn = order.integers(max(1, len(self.walkers)), size=self.walkers_per_epoch) + len(self.photos)
        places = np.concatenate([np.arange(len(self.photos)), drawn])
        if self.rare_per_epoch:
            labels = order.integers(len(self.rare), size=self.rare_per_epoch)
            oftener = [self.rare[label][int(order.integers(len(self.rare[label])))] for label in labels]
            places = np.concatenate([places, oftener])
        if self.unlabelled_per_epoch:
            crops = order.integers(len(self.unlabelled), size=self.unlabelled_per_epoch)
            places = np.concatenate([places, crops + len(self.photos) + len(self.walkers)])
        return [int(place) for place in order.permutation(places)]

    def make(self, places: Sequence[int], number: int, size: tuple[int, int], settings: Augmentation) -> Batch:
        """The batch of some places, as :meth:`epoch` has it."""
        views = []
        for position, place in enumerate(places):
            # the position too, as one walker can be drawn twice
            rng = np.random.default_rng((self.seed, number, place, position))
            if place < len(self.photos):
                views.append(augment(self.photos[place], self.photos, size, settings, rng))
            else:
                crops = place - len(self.photos)
                unlabelled = crops - len(self.walkers)
                example = self.walkers[crops] if unlabelled < 0 else self.unlabelled[unlabelled]
                views.append(augment_walker(example, size, rng))
        images, targets = zip(*views, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets))


@dataclass(frozen=True)
class _EpochBatches(Dataset[Batch]):
    """The batches of one epoch by their place in it."""

    maker: BatchMaker
    groups: list[list[int]]
    number: int
    size: tuple[int, int]
    settings: Augmentation

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Batch:
        return self.maker.make(self.groups[index], self.number, self.size, self.settings)
