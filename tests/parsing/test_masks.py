"""Masks and the two images made with them, against pixel-by-pixel loops and their own laws."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.labels import LIP
from pipeline.parsing.masks import FILLS, clothes_image, clothes_mask, shielding_image

SIDES = st.integers(1, 9)
GREY = {"white": 255, "black": 0}


@st.composite
def parsed_images(draw):
    height, width = draw(SIDES), draw(SIDES)
    image = draw(arrays(np.uint8, (height, width, 3)))
    label_map = draw(arrays(np.uint8, (height, width), elements=st.sampled_from([0, 0, 0, 5, 9, 13, 14, 19])))
    return image, label_map


def enclosed_by_walking(mask):
    """Pixels outside the mask that cannot be left for the border, by flooding from the border pixel by pixel."""
    height, width = mask.shape
    border = [(y, x) for y, x in np.ndindex(mask.shape) if y in (0, height - 1) or x in (0, width - 1)]
    reached = {place for place in border if not mask[place]}
    waiting = list(reached)
    while waiting:
        y, x = waiting.pop()
        for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= place[0] < height and 0 <= place[1] < width and not mask[place] and place not in reached:
                reached.add(place)
                waiting.append(place)
    return {place for place in np.ndindex(mask.shape) if not mask[place]} - reached


@given(parsed_images(), st.sets(st.integers(0, 19)))
def test_mask_is_true_exactly_on_the_clothes_labels(parsed, clothes):
    _, label_map = parsed
    mask = clothes_mask(label_map, clothes)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[int(label) in clothes for label in row] for row in label_map]


@given(parsed_images(), st.integers(0, 4))
def test_dilation_takes_all_pixels_within_the_radius_and_no_other(parsed, radius):
    _, label_map = parsed
    plain = clothes_mask(label_map, LIP.clothes)
    clothed = list(zip(*np.nonzero(plain), strict=True))
    grown = clothes_mask(label_map, LIP.clothes, dilate=radius)
    for y, x in np.ndindex(label_map.shape):
        assert grown[y, x] == any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in clothed)


@given(parsed_images())
def test_holes_are_enclosed_background_and_nothing_else(parsed):
    _, label_map = parsed
    plain = clothes_mask(label_map, LIP.clothes)
    holes = {place for place in enclosed_by_walking(plain) if label_map[place] == 0}
    filled = clothes_mask(label_map, LIP.clothes, fill_holes=True)
    assert {tuple(place) for place in np.argwhere(filled & ~plain)} == holes
    assert not (plain & ~filled).any()


def test_a_hand_in_front_of_the_body_stays_visible():
    label_map = np.full((5, 7), 5, np.uint8)
    label_map[2, 2], label_map[2, 4] = 14, 0
    mask = clothes_mask(label_map, LIP.clothes, fill_holes=True)
    assert not mask[2, 2]
    assert mask[2, 4]
    assert mask.sum() == 34


@given(parsed_images(), st.sampled_from(sorted(GREY)))
def test_shielding_and_clothes_images_agree_with_a_loop(parsed, fill):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    shielded, dressed = shielding_image(image, mask, fill), clothes_image(image, mask, fill)
    assert shielded.dtype == dressed.dtype == np.uint8
    for y, x in np.ndindex(label_map.shape):
        covered = int(label_map[y, x]) in LIP.clothes
        assert shielded[y, x].tolist() == ([GREY[fill]] * 3 if covered else image[y, x].tolist())
        assert dressed[y, x].tolist() == (image[y, x].tolist() if covered else [GREY[fill]] * 3)


@given(parsed_images())
def test_mean_is_the_mean_colour_of_what_stays(parsed):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    kept = [image[place].astype(int) for place in np.ndindex(mask.shape) if not mask[place]]
    expected = [round(sum(int(pixel[channel]) for pixel in kept) / len(kept)) if kept else 128 for channel in range(3)]
    for pixel in shielding_image(image, mask, "mean")[mask]:
        assert pixel.tolist() == expected


@given(parsed_images(), st.sampled_from(["white", "black", "mean", "noise"]), arrays(np.uint8, 3))
def test_nothing_of_what_is_covered_remains(parsed, fill, colour):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    recoloured = np.where(mask[..., None], colour, image)
    assert np.array_equal(shielding_image(image, mask, fill), shielding_image(recoloured, mask, fill))


def test_noise_is_noise_and_differs_from_image_to_image():
    image = np.zeros((64, 64, 3), np.uint8)
    mask = np.ones((64, 64), bool)
    mask[0, 0] = False
    noise = shielding_image(image, mask, "noise")
    counts = np.bincount(noise[mask].ravel(), minlength=256)
    assert counts.sum() == 4095 * 3
    assert counts.min() > 10
    assert counts.max() < 100
    image[0, 0] = 1
    assert (shielding_image(image, mask, "noise")[mask] == noise[mask]).mean() < 0.02


def test_blur_is_a_gaussian_mean_of_the_neighbourhood():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 20, 3), dtype=np.uint8)
    mask = np.ones((32, 20), bool)
    sigma = 2.0  # a sixteenth of 32
    reach = np.arange(-12, 13)
    weights = np.exp(-(reach**2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(image.astype(float), ((12, 12), (12, 12), (0, 0)), mode="reflect")
    expected = np.zeros(image.shape)
    for v, u in product(range(25), range(25)):
        expected += weights[v] * weights[u] * padded[v : v + 32, u : u + 20]
    assert np.abs(shielding_image(image, mask, "blur") - expected).max() <= 2.5


@given(parsed_images(), st.sampled_from(FILLS))
def test_the_two_images_together_give_the_image_back(parsed, fill):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    together = np.where(mask[..., None], clothes_image(image, mask, fill), shielding_image(image, mask, fill))
    assert np.array_equal(together, image)


@given(parsed_images(), st.sampled_from(FILLS))
def test_images_are_functions_of_image_and_mask_and_change_neither(parsed, fill):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    before = image.copy(), mask.copy()
    first = shielding_image(image, mask, fill), clothes_image(image, mask, fill)
    again = shielding_image(image.copy(), mask.copy(), fill), clothes_image(image.copy(), mask.copy(), fill)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert np.array_equal(image, before[0])
    assert np.array_equal(mask, before[1])


@given(parsed_images(), st.sampled_from(["white", "black", "mean", "noise"]))
def test_shielding_twice_changes_nothing_more(parsed, fill):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    once = shielding_image(image, mask, fill)
    assert np.array_equal(shielding_image(once, mask, fill), once)


def test_the_default_fill_is_white():
    image = np.full((1, 2, 3), 7, np.uint8)
    mask = np.array([[True, False]])
    assert shielding_image(image, mask).tolist() == [[[255] * 3, [7] * 3]]
    assert clothes_image(image, mask).tolist() == [[[7] * 3, [255] * 3]]


def test_an_unknown_fill_is_refused():
    with pytest.raises(ValueError, match="unknown fill 'pink'; known: white, black, mean, noise, blur"):
        shielding_image(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool), "pink")
