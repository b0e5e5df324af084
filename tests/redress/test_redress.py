"""Images in other outfits: what changes, what never does, and that light and folds stay."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.garments import CLOTHES, REGIONS
from pipeline.labels import LIP, PASCAL
from pipeline.redress.donors import measure_outfit
from pipeline.redress.outfits import PATTERNS, Garment, Outfit, draw_outfit, garment_of
from pipeline.redress.patterns import pattern_field
from pipeline.redress.redress import redress
from pipeline.redress.regions import NUMBERS, merge_slips, region_table, say_unchanged

TABLE = region_table(LIP.labels, CLOTHES)
GARMENTS = {5: "upper", 6: "dress", 7: "coat", 9: "lower", 10: "dress", 12: "lower"}


def _noisy(seed: int, size: tuple[int, int] = (48, 24)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image of noise, and patches of all labels."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    coarse = generator.choice(np.array([0, 0, 2, 5, 5, 7, 9, 13, 14, 18], dtype=np.uint8), size=(12, 6))
    return image, cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)


def _folded() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A person in a red top with dark folds and blue trousers, before grey."""
    image = np.full((128, 64, 3), 140, dtype=np.uint8)
    labels = np.zeros((128, 64), dtype=np.uint8)
    for rows, colour, label in ((slice(20, 70), (170, 40, 50), 5), (slice(70, 120), (40, 60, 140), 9)):
        folds = 0.75 + 0.25 * np.sin(np.arange(32) / 3)
        image[rows, 16:48] = np.rint(np.array(colour) * folds[None, :, None])
        labels[rows, 16:48] = label
    return image, labels


def _lab(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["colour", "texture", "donor"])
def test_only_garments_and_their_antialiased_edge_change(kind: str, seed: int) -> None:
    image, labels = _noisy(seed)
    outfit = measure_outfit(*_folded(), TABLE) if kind == "donor" else draw_outfit(kind, seed)
    given = image.copy()
    changed = redress(image, labels, outfit, TABLE).image.astype(int)
    np.testing.assert_array_equal(image, given)
    inside = np.isin(labels, list(GARMENTS))
    difference = np.abs(changed - image).max(axis=2)
    for row, column in np.argwhere(~inside):
        around = inside[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        allowed = 0.0
        if labels[row, column] == 0 and around.any():
            top, bottom = np.clip([row - 1, row + 1], 0, labels.shape[0] - 1)
            left, right = np.clip([column - 1, column + 1], 0, labels.shape[1] - 1)
            rows, columns = np.meshgrid([top, row, bottom], [left, column, right], indexing="ij")
            allowed = 255 * inside[rows, columns].mean() + 1
        assert difference[row, column] <= allowed
    assert difference[inside].max() > 30


def test_hair_skin_bags_and_garments_that_may_not_change_stay_exactly() -> None:
    image, labels = _noisy(3)
    table = region_table(LIP.labels, ("upper",))
    changed = redress(image, labels, draw_outfit("colour", 1), table).image
    kept = ~np.isin(labels, (0, 5))
    np.testing.assert_array_equal(changed[kept], image[kept])
    shoes = region_table(LIP.labels, ("shoes",))
    assert (redress(image, labels, draw_outfit("colour", 1), shoes).image != image)[labels == 18].any()


@pytest.mark.parametrize("kind", ["colour", "texture"])
def test_the_same_seed_gives_the_same_bytes(kind: str) -> None:
    image, labels = _folded()
    first, again, other = (redress(image, labels, draw_outfit(kind, seed), TABLE).image for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_plain_garment_has_its_colour_and_keeps_the_folds() -> None:
    image, labels = _folded()
    wanted = (60.0, -30.0, 20.0)
    outfit: Outfit = {"upper": Garment(wanted, wanted)}
    changed = redress(image, labels, outfit, TABLE).image
    inner = (slice(24, 66), slice(20, 44))
    old, new = _lab(image)[inner], _lab(changed)[inner]
    light = (_lab(image)[labels == 0][:, 0].mean() * 2.55) / 240  # how bright the scene is, which the cloth follows
    target = (np.array(wanted) * max(light, 0.6)).tolist()
    assert np.median(new[..., 0]) == pytest.approx(target[0], abs=4)
    assert np.median(new[..., 1]) == pytest.approx(target[1], abs=3)
    assert np.median(new[..., 2]) == pytest.approx(target[2], abs=3)
    assert np.corrcoef(old[..., 0].ravel(), new[..., 0].ravel())[0, 1] > 0.99
    order = np.argsort(old[..., 0].ravel(), kind="stable")
    assert (np.diff(new[..., 0].ravel()[order]) > -0.6).all()  # what was lighter is lighter, but for rounding
    np.testing.assert_array_equal(changed[75:118], image[75:118])  # nothing is given for the trousers


@pytest.mark.parametrize("pattern", [name for name in PATTERNS if name != "plain"])
def test_patterns_show_both_colours_under_the_folds(pattern: str) -> None:
    image, labels = _folded()
    first, second = (85.0, 0.0, 0.0), (25.0, 40.0, 20.0)
    garment = Garment(first, second, pattern, 0.09, seed=17)
    changed = _lab(redress(image, labels, {"upper": garment}, TABLE).image)[24:66, 20:44]
    reddish = changed[..., 1] > 10
    assert 0.08 < reddish.mean() < 0.92
    for part in (reddish, ~reddish):  # in either colour the old folds are seen
        old = _lab(image)[24:66, 20:44, 0][part]
        assert np.corrcoef(old, changed[..., 0][part])[0, 1] > 0.3


@pytest.mark.parametrize("lightness", [-1e-6, -1e-7, 0.0, 1e-7, -60.0, 60.0])
def test_a_print_has_a_motif_everywhere(lightness: float) -> None:
    """The remainder of a tiny negative number is the whole period, one motif too far."""
    garment = Garment((10, 20, 30), (200, 100, 50), "print", seed=0)
    field = pattern_field(garment, (32, 16), 256, np.full((32, 16), lightness, dtype=np.float32))
    assert field.shape == (32, 16)
    assert ((field >= 0) & (field <= 1)).all()


def test_a_donors_colours_are_worn() -> None:
    image, labels = _folded()
    wearer = np.ascontiguousarray(image[:, :, ::-1])  # blue above, red below
    outfit = measure_outfit(image, labels, TABLE)
    assert set(outfit) == {"upper", "lower"}
    changed = _lab(redress(wearer, labels, outfit, TABLE).image)
    for rows in (slice(24, 66), slice(74, 116)):
        mine, theirs = changed[rows, 20:44].reshape(-1, 3), _lab(image)[rows, 20:44].reshape(-1, 3)
        np.testing.assert_allclose(np.median(mine, axis=0), np.median(theirs, axis=0), atol=3)
        np.testing.assert_allclose(np.quantile(mine[:, 0], (0.1, 0.9)), np.quantile(theirs[:, 0], (0.1, 0.9)), atol=7)


def test_a_dress_lends_itself_and_what_nobody_lends_stays() -> None:
    plain = Garment((50.0, 0.0, 0.0), (50.0, 0.0, 0.0))
    assert garment_of({"dress": plain}, "lower") is plain
    assert garment_of({"upper": plain}, "coat") is plain
    assert garment_of({"upper": plain}, "lower") is None
    assert garment_of({"upper": plain}, "shoes") is None


def test_nothing_to_change_gives_the_image_itself() -> None:
    image, labels = _folded()
    done = redress(image, np.zeros_like(labels), draw_outfit("colour", 0), TABLE)
    assert not done.changed
    assert done.image is image
    assert not redress(image, labels, {}, TABLE).changed
    assert measure_outfit(image, np.zeros_like(labels), TABLE) == {}
    with pytest.raises(ValueError, match="do not fit"):
        redress(image, labels[1:], draw_outfit("colour", 0), TABLE)


def test_scraps_of_a_garment_go_with_the_largest() -> None:
    counts = np.zeros(len(REGIONS) + 1, dtype=np.int64)
    counts[[NUMBERS["upper"], NUMBERS["coat"], NUMBERS["lower"]]] = 10, 990, 5
    worn = merge_slips(counts)
    assert worn[NUMBERS["upper"]] == NUMBERS["coat"]
    assert worn[NUMBERS["coat"]] == NUMBERS["coat"]
    assert worn[NUMBERS["lower"]] == NUMBERS["lower"]


def test_labels_become_regions() -> None:
    assert {number: REGIONS[TABLE.numbers[number] - 1] for number in np.flatnonzero(TABLE.numbers)} == GARMENTS
    assert TABLE.background[0]
    assert TABLE.background.sum() == 1
    with pytest.raises(InputError, match="no garment among upper, lower, dress, coat"):
        region_table(PASCAL.labels, CLOTHES)


def test_outfits_are_drawn_for_all_regions_and_differ() -> None:
    outfits = [draw_outfit("texture", seed) for seed in range(60)]
    assert all(set(outfit) == set(REGIONS) for outfit in outfits)
    assert {outfit["upper"].pattern for outfit in outfits} == set(PATTERNS) - {"plain"}
    assert all(draw_outfit("colour", seed)["upper"].pattern == "plain" for seed in range(9))
    with pytest.raises(ValueError, match="measured"):
        draw_outfit("donor", 0)


def test_garments_that_are_known_elsewhere_change_and_others_are_named() -> None:
    labels = ("background", "Hoodie", "lower-clothing", "short sleeve top", "apparel", "belt", "hair")
    assert region_table(labels, CLOTHES).numbers[:7].tolist() == [
        0, NUMBERS["upper"], NUMBERS["lower"], NUMBERS["upper"], 0, 0, 0
    ]  # fmt: skip
    assert say_unchanged(("Hoodie", "apparel", "belt")) == (
        "warning: apparel, belt will keep the old colours where clothes are changed: the name does not tell on which "
        "part of the body it is worn"
    )
    assert say_unchanged(("Hoodie", "lower-clothing")) is None
