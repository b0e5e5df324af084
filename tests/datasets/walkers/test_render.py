"""Rendering: labels and colours share one geometry, left and right are the person's, equal seeds give equal pixels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.walkers.cameras import Camera, draw_camera
from pipeline.datasets.walkers.factors import draw_identity
from pipeline.datasets.walkers.painting import halve_labels, label_table
from pipeline.datasets.walkers.render import Rendering, render
from pipeline.datasets.walkers.wardrobe import Outfit, draw_free_outfit
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask

HEIGHT, WIDTH = 128, 64


def clean_camera() -> Camera:
    """No blur, noise, haze, light or occluder: what is painted is what is seen."""
    camera = draw_camera(np.random.default_rng(1), 1, HEIGHT, WIDTH)
    return replace(
        camera, gain=1.0, gamma=1.0, cast=(1.0, 1.0, 1.0), haze=0.0, blur=0.0, noise=0.0, light=0.0, occlusion=0.0
    )


CAMERA = clean_camera()


def rendered(seed: int, outfit: Outfit | None = None, camera: Camera = CAMERA) -> tuple[Outfit, Rendering]:
    outfit = outfit or draw_free_outfit(np.random.default_rng([2, seed]))
    identity = draw_identity(np.random.default_rng([1, seed]))
    return outfit, render(identity, outfit, camera, HEIGHT, WIDTH, np.random.default_rng([3, seed]))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_walker_has_every_part_that_is_worn(seed: int) -> None:
    outfit, result = rendered(seed)
    assert result.image.shape == (HEIGHT, WIDTH, 3)
    assert result.labels.shape == (HEIGHT, WIDTH)
    found = {LIP.labels[number] for number in np.unique(result.labels)}
    assert {"background", "hair"} <= found
    assert ("hat" in found) == bool(outfit.hat)
    assert ("dress" in found) == outfit.is_dress
    assert found & {"upper-clothes", "coat", "dress"}
    assert found & {"left-shoe", "right-shoe"}
    if not outfit.is_dress:
        assert found & {"pants", "skirt"}
    covered = clothes_mask(result.labels, LIP.clothes).mean()
    assert 0.05 < covered < 0.6


def test_only_clothes_pixels_change_with_the_colour_of_the_clothes() -> None:
    for seed in range(6):
        outfit, first = rendered(seed)
        other = replace(
            outfit,
            upper=replace(outfit.upper, rgb=(10.0, 250.0, 10.0), second=(10.0, 250.0, 10.0)),
            lower=replace(outfit.lower, rgb=(250.0, 10.0, 250.0), second=(250.0, 10.0, 250.0)),
            inner=(10.0, 10.0, 250.0),
        )
        second = rendered(seed, other)[1]
        assert np.array_equal(first.labels, second.labels)
        mask = clothes_mask(first.labels, LIP.clothes).astype(np.uint8)
        # A pixel on a border is a mixture of its four parts; farther than one pixel from clothes nothing may change.
        near = np.zeros_like(mask)
        padded = np.pad(mask, 1)
        for row in range(3):
            for column in range(3):
                near |= padded[row : row + HEIGHT, column : column + WIDTH]
        changed = (first.image != second.image).any(axis=2)
        # Slivers of clothes that are nowhere a majority of four parts are rare.
        assert changed[near == 0].mean() < 0.002
        assert changed[mask == 1].mean() > 0.95


def test_left_and_right_are_the_persons_own() -> None:
    outfit = draw_free_outfit(np.random.default_rng(0))
    outfit = replace(outfit, upper=replace(outfit.upper, kind=0, sleeves=1))
    seen = {"front": 0, "back": 0}
    for seed in range(40):
        result = rendered(seed, outfit)[1]
        if result.view == "side" or abs(np.cos(result.yaw)) < 0.9:
            continue
        labels = [LIP.labels.index(f"{side}-arm") for side in ("left", "right")]
        if not all((result.labels == label).any() for label in labels):
            continue
        left, right = (np.nonzero(result.labels == label)[1].mean() for label in labels)
        left_is_at_the_right = left > right
        assert left_is_at_the_right == (result.view == "front")
        seen[result.view] += 1
    assert min(seen.values()) >= 3


def test_a_hidden_person_has_no_labels_where_hidden() -> None:
    camera = replace(CAMERA, occlusion=1.0)
    hidden = 0
    others = 0
    for seed in range(12):
        free, behind = rendered(seed)[1], rendered(seed, camera=camera)[1]
        assert behind.occluded
        assert not free.occluded
        differ = free.labels != behind.labels
        hidden += int((behind.labels[differ] == 0).sum())
        others += int((behind.labels[differ] != 0).sum())
    assert hidden > 1000
    assert others < 0.05 * hidden  # a few border pixels go to a neighbour in the majority


def test_equal_generators_give_equal_images() -> None:
    first, second, other = rendered(5)[1], rendered(5)[1], rendered(6)[1]
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.labels, second.labels)
    assert not np.array_equal(first.image, other.image)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_halved_labels_are_the_majority(seed: int, kinds: int) -> None:
    labels = np.random.default_rng(seed).integers(kinds, size=(8, 6)).astype(np.uint8)
    halved = halve_labels(labels)
    for row in range(4):
        for column in range(3):
            block = labels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
            counts = np.bincount(block)
            chosen = halved[row, column]
            assert counts[chosen] == counts.max()
            if counts[block[0]] == counts.max():
                assert chosen == block[0]


@pytest.mark.parametrize("seed", range(10))
def test_label_table_follows_the_garments(seed: int) -> None:
    outfit = draw_free_outfit(np.random.default_rng(seed))
    for kind, label in enumerate(("upper-clothes",) * 4 + ("coat", "coat", "dress")):
        table = label_table(replace(outfit, upper=replace(outfit.upper, kind=kind)))
        assert LIP.labels.index(label) in table
        assert (LIP.labels.index("dress") in table) == (label == "dress")
    for kind, label in enumerate(("pants", "pants", "skirt", "skirt")):
        table = label_table(replace(outfit, lower=replace(outfit.lower, kind=kind)))
        assert LIP.labels.index(label) in table
