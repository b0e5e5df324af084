"""Augmentation: what it may change, what it must keep, and that seeds decide everything."""

import numpy as np
import pytest
from lite_samples import CCP_NAMES, ccp_person, picture_of

from pipeline.parsing.lite.targets import BAG, LIP_NUMBER, MIRRORED, NO_PERSON, TARGETS
from pipeline.parsing.lite.training.augment import (
    Augmentation,
    add_bystander,
    augment,
    augment_walker,
    blend,
    darken,
    occlude,
    random_crop,
    recolour_garments,
)
from pipeline.parsing.lite.training.batches import BatchMaker
from pipeline.parsing.lite.training.behind import turn_away
from pipeline.parsing.lite.training.camera import (
    blur,
    change_light,
    compress,
    degrade,
    lose_resolution,
    move,
    night,
    sharpen,
    surveil,
)
from pipeline.parsing.lite.training.carried import carry
from pipeline.parsing.lite.training.ccp_labels import ccp_target, label_table
from pipeline.parsing.lite.training.crops import Example, person_mask

EVERYTHING = Augmentation(
    background=1, recolour=1, occlusion=1, bystander=1, close=0.5, degrade=1.2, behind=1, dark=0.5, carry=1, surveil=1
)
SIZE = (64, 32)


@pytest.fixture(scope="module")
def people() -> list[Example]:
    target = ccp_target(ccp_person(), label_table(CCP_NAMES, "test"))
    return [Example(str(seed), picture_of(target, seed), target) for seed in range(3)]


@pytest.mark.parametrize("seed", range(12))
def test_views_have_the_size_and_known_targets(people, seed):
    image, target = augment(people[0], people, SIZE, EVERYTHING, np.random.default_rng(seed))
    assert image.shape == (*SIZE, 3)
    assert target.shape == SIZE
    assert image.dtype == target.dtype == np.uint8
    assert target.max() < TARGETS
    assert person_mask(target).any()


def test_equal_seeds_give_equal_views_and_others_do_not(people):
    first, same, other = (
        augment(people[0], people, SIZE, EVERYTHING, np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    assert np.array_equal(first[0], same[0])
    assert np.array_equal(first[1], same[1])
    assert not np.array_equal(first[0], other[0])


def test_the_sources_are_not_changed(people):
    before = [(person.image.copy(), person.target.copy()) for person in people]
    for seed in range(5):
        augment(people[0], people, SIZE, EVERYTHING, np.random.default_rng(seed))
    for person, (image, target) in zip(people, before, strict=True):
        assert np.array_equal(person.image, image)
        assert np.array_equal(person.target, target)


def test_crops_move_image_and_target_together(people):
    """A picture whose red channel is its own target must still be so after the crop."""
    target = people[0].target
    source = Example("own", np.repeat(target[..., None], 3, axis=2) * np.uint8(8), target)
    for seed in range(6):
        image, moved = random_crop(source, (120, 60), 0.3, np.random.default_rng(seed))
        inner = person_mask(moved)
        agree = np.abs(image[..., 0].astype(int) - 8 * moved.astype(int))[inner] <= 4
        assert agree.mean() > 0.75  # the rest are the mixed pixels of edges


def test_recolouring_keeps_skin_hair_and_background(people):
    image, target = people[0].image, people[0].target
    changed = recolour_garments(image, target, np.random.default_rng(1))
    garments = np.isin(target, [5, 9, 18, 19])
    far = np.abs(changed.astype(int) - image.astype(int)).max(axis=2)
    assert far[~garments].max() <= 6  # the way to Lab and back rounds
    assert far[garments].mean() > 20


def test_blending_keeps_the_person_and_replaces_the_rest(people):
    image, keep = people[0].image, person_mask(people[0].target)
    flat = np.full_like(image, 99)
    mixed = blend(image, flat, keep, np.random.default_rng(0))
    assert np.abs(mixed[0, 0].astype(int) - 99).max() <= 1
    assert np.abs(mixed[45, 40].astype(int) - image[45, 40]).max() <= 1


def test_a_bystander_never_covers_the_person(people):
    image, target = people[0].image, people[0].target
    view = add_bystander(image, target, people[1], np.random.default_rng(2))
    inside = np.zeros_like(target, dtype=bool)
    inside[32:56, 34:46] = True  # well inside the shirt, away from the soft edge
    assert np.abs(view[inside].astype(int) - image[inside]).max() <= 1
    assert not np.array_equal(view, image)


def test_occluded_pixels_become_background(people):
    image, target = people[0].image, people[0].target
    changes = []
    for seed in range(5):
        covered_image, covered = occlude(image, target, people, np.random.default_rng(seed))
        changed = covered != target
        changes.append(changed.any())
        assert (covered[changed] == 0).all()
        assert np.array_equal(covered_image[0, 0], image[0, 0]) or covered[0, 0] == 0
    assert any(changes)


def test_camera_effects_keep_shape_and_type(people):
    image, rng = people[0].image, np.random.default_rng(0)
    for changed in (
        change_light(image, rng), blur(image, rng), lose_resolution(image, 0.4, rng), compress(image, 40),
        degrade(image, 1.0, rng), night(image, rng), move(image, rng), sharpen(image, rng),
    ):  # fmt: skip
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, image)
    assert np.array_equal(degrade(image, 0.0, rng), image)


def test_nights_are_darker_and_poor_cameras_lose_detail(people):
    image = people[0].image
    for seed in range(4):
        rng = np.random.default_rng(seed)
        assert night(image, rng).mean() < image.mean() + 16  # of which up to 15 are stray light
        assert surveil(image, rng).shape == image.shape


def test_effects_of_no_probability_draw_nothing(people):
    """So that views without the newer effects are those of earlier versions."""
    old = Augmentation(behind=0, dark=0, carry=0, surveil=0)
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    image, target = augment(people[0], people, SIZE, old, rng)
    crop, labels = random_crop(people[0], SIZE, old.close, same)
    assert target.shape == labels.shape
    assert image.shape == crop.shape
    assert not np.isin(target, [BAG]).any()


def test_dark_clothes_are_dark_and_the_rest_stays(people):
    image, target = people[0].image, people[0].target
    garments = np.isin(target, [5, 9, 18, 19])
    shades = []
    for seed in range(6):
        changed = darken(image, target, np.random.default_rng(seed))
        assert np.array_equal(changed[~garments & (target != LIP_NUMBER["hair"])], image[~garments & (target != 2)])
        shades.append(changed[garments].mean())
    assert np.mean(shades) < 90 < image[garments].mean()


def test_a_turned_head_is_hair_and_exchanges_the_sides(people):
    image, target = people[0].image, people[0].target
    hair, face = LIP_NUMBER["hair"], LIP_NUMBER["face"]
    head = np.isin(target, [hair, face])
    for seed in range(8):
        turned, new = turn_away(image, target, np.random.default_rng(seed))
        assert (new[target == hair] == hair).all()
        assert (new == hair).sum() > (target == hair).sum()
        assert (new == face).sum() < 0.5 * (target == face).sum()
        far = ~head & (new != hair)
        assert np.array_equal(new[far], MIRRORED[target][far])
        assert np.abs(turned[90].astype(int) - image[90]).max() <= 1  # the legs stay as they are
    headless = np.where(head, np.uint8(5), target)
    same_image, same = turn_away(image, headless, np.random.default_rng(0))
    assert same_image is image
    assert same is headless


def test_what_somebody_carries_becomes_a_bag_and_heads_stay_before_it(people):
    image, target = people[0].image, people[0].target
    head = np.isin(target, [LIP_NUMBER[name] for name in ("hair", "face")])
    shares = []
    with_bags = [Example("bag", people[1].image, np.where(people[1].target == 9, np.uint8(BAG), people[1].target))]
    for seed in range(12):
        others = people if seed % 2 else with_bags
        view, new = carry(image, target, others, seed % 3 / 2, np.random.default_rng(seed))
        changed = new != target
        assert (new[changed] == BAG).all()
        assert not changed[head].any()
        assert np.abs(view[~changed].astype(int) - image[~changed]).mean() < 6  # but for soft edges
        shares.append(changed.mean())
    assert 0.003 < np.mean(shares) < 0.2
    nobody = np.zeros_like(target)
    assert carry(image, nobody, people, 0.5, np.random.default_rng(0))[1] is nobody


def test_walkers_stay_whole_or_are_cropped(people):
    for seed in range(6):
        image, target = augment_walker(people[0], SIZE, np.random.default_rng(seed))
        assert image.shape == (*SIZE, 3)
        assert set(np.unique(target)) <= set(range(TARGETS))
        assert (target == NO_PERSON).any()  # their bags are not told from the background
        assert not (target == 0).any()


def maker(people, **changes):
    settings = {"walkers_share": 0.25, "batch_size": 4, "seed": 7, "augmentation": EVERYTHING, **changes}
    return BatchMaker(people * 3, people[:2], **settings)


def test_an_epoch_has_every_photograph_once_and_its_share_of_walkers(people):
    batches = maker(people)
    assert batches.walkers_per_epoch == 3
    assert batches.steps == 3
    sizes = [len(images) for images, _ in batches.epoch(0, SIZE)]
    assert sizes == [4, 4, 4]
    order = batches._order(0)
    assert sorted(place for place in order if place < 9) == list(range(9))
    assert batches._order(1) != order


def test_photographs_with_rare_labels_are_drawn_once_more(people):
    scarf = people[1].target.copy()
    scarf[28:32, 34:46] = LIP_NUMBER["scarf"]
    photos = [people[0], Example("scarf", people[1].image, scarf), people[2]] * 3
    batches = BatchMaker(photos, people[:2], 0.25, 4, 7, EVERYTHING, rare_share=0.25)
    assert batches.rare == [[1, 4, 7]]
    assert batches.rare_per_epoch == 3
    assert batches.steps == 4
    order = batches._order(0)
    counts = np.bincount([place for place in order if place < 9], minlength=9)
    assert counts.sum() == 12
    assert (counts >= 1).all()
    assert (counts[[0, 2, 3, 5, 6, 8]] == 1).all()
    assert maker(people, rare_share=0.25).rare_per_epoch == 0  # nobody shows any


def test_epochs_are_repeatable(people):
    once, again = (list(maker(people).epoch(2, SIZE)) for _ in range(2))
    for (images, targets), (images2, targets2) in zip(once, again, strict=True):
        assert images.equal(images2)
        assert targets.equal(targets2)
    other = next(iter(maker(people, seed=8).epoch(2, SIZE)))
    assert not other[0].equal(once[0][0])
