"""Walkers as an instrument: populations that share nobody and nothing, and what the variant hard makes harder."""

import hashlib
from collections import defaultdict
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.datasets.walkers.population import (
    Purpose,
    Shot,
    make_cameras,
    plan_pretraining,
    plan_walkers,
)
from pipeline.datasets.walkers.rows import MEASURES, render_shot
from pipeline.datasets.walkers.settings import SynthSettings, Variant
from pipeline.images import decode_image, decode_label_map

DATA_SEEDS = (0, 1, 100, 1000)
CLIP_SEEDS = (0, 1000)
PRETRAIN_IMAGES = 2000
VARIANTS: tuple[Variant, ...] = ("standard", "hard")


def settings(seed: int, variant: Variant = "standard", **changes: int) -> tuple[SynthSettings, int]:
    return SynthSettings(**{"variant": variant, "test_identities": 150, **changes}), seed


@cache
def pretraining(seed: int) -> tuple[Shot, ...]:
    return tuple(plan_pretraining(seed, index) for index in range(PRETRAIN_IMAGES))


def looks(shots: tuple[Shot, ...]) -> set[tuple[float, ...]]:
    """Continuous factors as the table holds them."""
    measures = [[getattr(shot.identity, name) for name in MEASURES] for shot in shots]
    return {tuple(row) for row in np.array(measures, dtype=np.float32).tolist()}


def split(shots: tuple[Shot, ...], train: bool) -> tuple[Shot, ...]:
    return tuple(shot for shot in shots if (shot.split == "train") == train)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_person_and_no_garment_of_train_or_test_is_in_a_pretraining_population_of_any_seed(variant):
    people = {seed: looks(plan_walkers(*settings(seed, variant))) for seed in DATA_SEEDS}
    outfits = {seed: {shot.outfit for shot in plan_walkers(*settings(seed, variant))} for seed in DATA_SEEDS}
    for clip_seed in CLIP_SEEDS:
        population = pretraining(clip_seed)
        assert len(looks(population)) == PRETRAIN_IMAGES  # everybody comes once
        worn = {shot.outfit for shot in population}
        garments = {outfit.upper for outfit in worn} | {outfit.lower for outfit in worn}
        for seed in DATA_SEEDS:
            assert not people[seed] & looks(population)
            assert not outfits[seed] & worn
            assert not {outfit.upper for outfit in outfits[seed]} & garments
            assert not {outfit.lower for outfit in outfits[seed]} & garments


def test_no_person_is_in_the_train_and_the_test_split_of_any_two_seeds():
    train = {seed: looks(split(plan_walkers(*settings(seed)), True)) for seed in DATA_SEEDS}
    test = {seed: looks(split(plan_walkers(*settings(seed)), False)) for seed in DATA_SEEDS}
    for seed in DATA_SEEDS:
        assert len(train[seed]) == 96
        assert len(test[seed]) == 150
        for other in DATA_SEEDS:
            assert not train[seed] & test[other]
            if other != seed:
                assert not train[seed] & train[other]
                assert not test[seed] & test[other]


def flat(value: Any) -> str:
    """A planned value as text: floats rounded, scenes left out."""
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, tuple | list):
        return f"({','.join(map(flat, value))})"
    if is_dataclass(value):
        return flat([getattr(value, field.name) for field in fields(value) if field.name != "scene"])
    return str(value)


def test_the_standard_variant_is_what_it_was_before_there_was_another():
    small = SynthSettings(train_identities=6, test_identities=6), 0
    planned = [plan_walkers(*small), *(make_cameras(*small, of) for of in (Purpose.CAMERAS, Purpose.PRETRAIN_CAMERAS))]
    text = "".join(map(flat, planned)) + flat([plan_pretraining(0, index) for index in range(20)])
    expected = "608145bb8fbddb08b6b0a8414edfddc47768c65c8a295658ab54c3ae947682fc"
    assert hashlib.sha256(text.encode()).hexdigest() == expected


def test_variants_have_the_same_people_and_the_same_pretraining():
    standard, hard = (plan_walkers(*settings(3, variant)) for variant in VARIANTS)
    assert {shot.person_id: shot.identity for shot in standard} == {shot.person_id: shot.identity for shot in hard}
    small = [settings(3, variant, height=64) for variant in VARIANTS]
    first, second = (render_shot(*one, plan_pretraining(3, 5)) for one in small)
    assert first.image == second.image


def people_a_garment(shots: tuple[Shot, ...]) -> tuple[float, float]:
    """Mean number of people who wear an upper garment, and who wear the same upper and lower garment together."""
    upper: dict[object, set[int]] = defaultdict(set)
    both: dict[object, set[int]] = defaultdict(set)
    for shot in shots:
        upper[shot.outfit.upper].add(shot.person_id)
        both[shot.outfit.upper, shot.outfit.lower].add(shot.person_id)
    return tuple(float(np.mean([len(people) for people in worn.values()])) for worn in (upper, both))  # type: ignore[return-value]


@pytest.mark.parametrize("seed", DATA_SEEDS)
def test_the_hard_variant_shares_garments_and_whole_outfits_far_more(seed):
    (upper, both), (hard_upper, hard_both) = (
        people_a_garment(split(plan_walkers(*settings(seed, variant)), False)) for variant in VARIANTS
    )
    assert both < 1.5 < 3 < hard_both
    assert hard_upper > 2.5 * upper


def camera_spread(one: tuple[SynthSettings, int]) -> np.ndarray:
    """How much cameras differ: deviation over cameras of the mean brightness of people (grey levels), of their mean
    red less blue, and of the logarithm of their fine detail; and the share of occluded images."""
    rows = []
    for shot in plan_walkers(*one):
        done = render_shot(*one, shot)
        image = decode_image(done.image).astype(np.float32)
        person = decode_label_map(done.label_map) > 0
        detail = cv2.Laplacian(image.mean(axis=2), cv2.CV_32F)[person].std()
        red, _, blue = image[person].mean(axis=0)
        rows.append((shot.camera, image[person].mean(), red - blue, np.log(detail), done.values["occluded"]))
    table = np.array(rows, dtype=np.float64)
    means = np.array([table[table[:, 0] == camera, 1:4].mean(axis=0) for camera in np.unique(table[:, 0])])
    return np.append(means.std(axis=0, ddof=1), table[:, 4].mean())


def test_the_hard_variant_varies_more_between_cameras_and_hides_more():
    spreads = []
    for variant in VARIANTS:
        changes = {"height": 64, "train_identities": 10, "test_identities": 2, "cameras": 8}
        spreads.append(np.mean([camera_spread(settings(seed, variant, **changes)) for seed in (0, 1)], axis=0))
    standard, hard = spreads
    brightness, tint, detail, hidden = hard / standard
    assert brightness > 1.7
    assert tint > 1.3
    assert detail > 1.3
    assert hidden > 1.7


def test_the_hard_variant_renders_the_same_bytes_again():
    one = settings(7, "hard", height=64)
    shot = plan_walkers(*one)[40]
    first = render_shot(*one, shot)
    make_cameras.cache_clear()
    plan_walkers.cache_clear()
    again = render_shot(*settings(7, "hard", height=64), plan_walkers(*one)[40])
    assert (first.image, first.label_map, first.values) == (again.image, again.label_map, again.values)
