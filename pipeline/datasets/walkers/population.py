"""Who is photographed, in which outfit, by which camera, and what each image is for; nothing is rendered here.

Every random choice has a generator of its own, made from the seed and from what it is for, so that an image does not
depend on how many others there are or on who renders them.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, Literal

import numpy as np

from pipeline.datasets.walkers.cameras import HARD_CAMERAS, STANDARD_CAMERAS, Camera, draw_camera
from pipeline.datasets.walkers.factors import Identity, draw_identity
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.datasets.walkers.wardrobe import (
    HARD_POOL,
    STANDARD_POOL,
    Outfit,
    Wardrobe,
    draw_free_outfit,
    draw_outfits,
    draw_wardrobe,
)

Split = Literal["train", "query", "gallery"]
OUTFITS_A_PERSON: Final = 1000
"""clothes_id = person_id * OUTFITS_A_PERSON + outfit"""
PRETRAIN_CAMERAS: Final = 24


class Purpose(IntEnum):
    """What a random generator is for; part of its seed."""

    WARDROBE = 1
    CAMERAS = 2
    PRETRAIN_CAMERAS = 3
    TRAIN = 4
    TEST = 5
    PRETRAIN = 6


@dataclass(frozen=True)
class Shot:
    """One image to be rendered.

    Attributes:
        split: What it is for; None in the population for pre-training.
        person_id: From 1 for training, going on for test; 0 in the population for pre-training.
        identity: How this person looks.
        outfit_number: From 1, among this person's.
        outfit: What the person wears.
        camera: Index of the camera, from 0.
        number: Of the image among this person's, from 1.
        key: Seed of its generator.
    """

    split: Split | None
    person_id: int
    identity: Identity
    outfit_number: int
    outfit: Outfit
    camera: int
    number: int
    key: tuple[int, ...]

    @property
    def clothes_id(self) -> int:
        """Number of the outfit, unique over all people."""
        return self.person_id * OUTFITS_A_PERSON + self.outfit_number

    @property
    def stem(self) -> str:
        """Name of the image's file without its ending."""
        return f"{self.person_id:04d}_{self.outfit_number}_c{self.camera + 1}_{self.number:02d}"


def make_generator(seed: int, *key: int) -> np.random.Generator:
    """The generator for one purpose."""
    return np.random.default_rng(np.random.SeedSequence([seed, *key]))


@lru_cache(maxsize=4)
def make_cameras(settings: SynthSettings, seed: int, purpose: Purpose) -> tuple[Camera, ...]:
    """The cameras of training and test, or those of pre-training."""
    pretraining = purpose is Purpose.PRETRAIN_CAMERAS
    count = PRETRAIN_CAMERAS if pretraining else settings.cameras
    style = HARD_CAMERAS if settings.variant == "hard" and not pretraining else STANDARD_CAMERAS
    return tuple(
        draw_camera(make_generator(seed, purpose, index), index + 1, settings.height, settings.width, style)
        for index in range(count)
    )


def _spread_over_cameras(generator: np.random.Generator, images: int, cameras: int) -> list[int]:
    """A camera for each image, so that no camera is used again before all were."""
    rounds = [generator.permutation(cameras) for _ in range(-(-images // cameras))]
    return [int(camera) for camera in np.concatenate(rounds)[:images]]


def _split_of(purpose: Purpose, image: int, outfit: int, images: int) -> Split:
    """Half of an outfit's images are queries; with one image an outfit, the first outfit's is."""
    if purpose is Purpose.TRAIN:
        return "train"
    if images == 1:
        return "query" if outfit == 1 else "gallery"
    return "query" if image < images // 2 else "gallery"


def _plan_person(
    settings: SynthSettings, seed: int, purpose: Purpose, index: int, person_id: int, pool: Wardrobe
) -> list[Shot]:
    generator = make_generator(seed, purpose, index)
    identity = draw_identity(generator)
    outfits = draw_outfits(generator, pool, int(generator.integers(2, settings.outfits + 1)))
    shots: list[Shot] = []
    for outfit_number, outfit in enumerate(outfits, start=1):
        cameras = _spread_over_cameras(generator, settings.images_per_outfit, settings.cameras)
        for image, camera in enumerate(cameras):
            split = _split_of(purpose, image, outfit_number, settings.images_per_outfit)
            number = len(shots) + 1
            key = (int(purpose), index, number)
            shots.append(Shot(split, person_id, identity, outfit_number, outfit, camera, number, key))
    return shots


@lru_cache(maxsize=2)
def plan_walkers(settings: SynthSettings, seed: int) -> tuple[Shot, ...]:
    """All images of training and test, by person."""
    size = HARD_POOL if settings.variant == "hard" else STANDARD_POOL
    pool = draw_wardrobe(make_generator(seed, Purpose.WARDROBE), size)
    shots: list[Shot] = []
    for index in range(settings.train_identities):
        shots += _plan_person(settings, seed, Purpose.TRAIN, index, index + 1, pool)
    for index in range(settings.test_identities):
        shots += _plan_person(settings, seed, Purpose.TEST, index, settings.train_identities + index + 1, pool)
    return tuple(shots)


def plan_pretraining(seed: int, index: int) -> Shot:
    """One image of the population for pre-training: a person and an outfit that come only once."""
    generator = make_generator(seed, Purpose.PRETRAIN, index, 0)
    identity, outfit = draw_identity(generator), draw_free_outfit(generator)
    camera = int(generator.integers(PRETRAIN_CAMERAS))
    return Shot(None, 0, identity, 1, outfit, camera, index + 1, (int(Purpose.PRETRAIN), index, 1))
