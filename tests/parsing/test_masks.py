"""Masks and the two images made with them, against pixel-by-pixel loops and their own laws."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.parsing.masks import clothes_image, clothes_mask, shielding_image
from pipeline.parsing.schemes import LIP

SIDES = st.integers(1, 9)


@st.composite
def parsed_images(draw):
    height, width = draw(SIDES), draw(SIDES)
    image = draw(arrays(np.uint8, (height, width, 3)))
    label_map = draw(arrays(np.uint8, (height, width), elements=st.integers(0, 19)))
    return image, label_map


@given(parsed_images(), st.sets(st.integers(0, 19)))
def test_mask_is_true_exactly_on_the_clothes_labels(parsed, clothes):
    _, label_map = parsed
    mask = clothes_mask(label_map, clothes)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[int(label) in clothes for label in row] for row in label_map]


@given(parsed_images(), st.integers(0, 255))
def test_shielding_and_clothes_images_agree_with_a_loop(parsed, fill):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    shielded, dressed = shielding_image(image, mask, fill), clothes_image(image, mask, fill)
    assert shielded.dtype == dressed.dtype == np.uint8
    for y, x in np.ndindex(label_map.shape):
        covered = int(label_map[y, x]) in LIP.clothes
        assert shielded[y, x].tolist() == ([fill] * 3 if covered else image[y, x].tolist())
        assert dressed[y, x].tolist() == (image[y, x].tolist() if covered else [fill] * 3)


@given(parsed_images(), st.integers(0, 255))
def test_shielding_twice_changes_nothing_more(parsed, fill):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    once = shielding_image(image, mask, fill)
    assert np.array_equal(shielding_image(once, mask, fill), once)


@given(parsed_images(), st.integers(0, 255))
def test_the_two_images_together_give_the_image_back(parsed, fill):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    together = np.where(mask[..., None], clothes_image(image, mask, fill), shielding_image(image, mask, fill))
    assert np.array_equal(together, image)


@given(parsed_images())
def test_the_inputs_are_not_changed(parsed):
    image, label_map = parsed
    mask = clothes_mask(label_map, LIP.clothes)
    before = image.copy(), mask.copy()
    shielding_image(image, mask)
    clothes_image(image, mask)
    assert np.array_equal(image, before[0])
    assert np.array_equal(mask, before[1])


def test_the_default_fill_is_white():
    image = np.full((1, 2, 3), 7, np.uint8)
    mask = np.array([[True, False]])
    assert shielding_image(image, mask).tolist() == [[[255] * 3, [7] * 3]]
    assert clothes_image(image, mask).tolist() == [[[7] * 3, [255] * 3]]
