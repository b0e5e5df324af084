"""Small copies keep shape and labels; overlays follow their formula; data URIs hold what they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.pictures import (
    LABEL_OPACITY,
    Box,
    fitted_size,
    hex_colour,
    label_overlay,
    label_palette,
    mask_picture,
    photo,
    shrink_image,
    shrink_labels,
)

SIZES = st.integers(1, 900)


@given(SIZES, SIZES, SIZES, SIZES)
def test_fitted_sizes_fit_keep_the_shape_and_never_grow(height, width, box_height, box_width):
    new_height, new_width = fitted_size(height, width, Box(box_height, box_width))
    assert 1 <= new_height <= min(height, box_height)
    assert 1 <= new_width <= min(width, box_width)
    scale = min(1, box_height / height, box_width / width)
    assert abs(new_height - height * scale) <= 1
    assert abs(new_width - width * scale) <= 1


def test_an_image_that_fits_is_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    assert np.array_equal(shrink_image(image, Box(30, 20)), image)


def test_halving_an_image_averages_blocks():
    image = np.random.default_rng(1).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    expected = image.reshape(20, 2, 10, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrink_image(image, Box(20, 99)).astype(float) - expected).max() <= 0.5


def test_shrunk_label_maps_hold_no_new_label():
    labels = np.random.default_rng(2).choice([0, 5, 13], (61, 33)).astype(np.uint8)
    small = shrink_labels(labels, Box(17, 17))
    assert small.shape == (17, 9)
    assert set(np.unique(small)) <= {0, 5, 13}


def test_palette_colours_are_distinct_and_stay_when_labels_are_added():
    palette = label_palette(256)
    assert palette.shape == (256, 3)
    assert len({tuple(colour) for colour in palette[:40].tolist()}) == 40
    assert np.array_equal(label_palette(7), palette[:7])
    assert hex_colour(np.array([1, 171, 255], dtype=np.uint8)) == "#01abff"


def test_overlay_blends_each_labelled_pixel_with_its_colour():
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (5, 4), dtype=np.uint8)
    labels = rng.integers(0, 4, (5, 4), dtype=np.uint8)
    palette = label_palette(4)
    overlay = label_overlay(np.repeat(grey[..., None], 3, axis=2), labels, palette)
    for row in range(5):
        for column in range(4):
            value, label = int(grey[row, column]), labels[row, column]
            for channel in range(3):
                colour = int(palette[label, channel])
                expected = value * (1 - LABEL_OPACITY) + colour * LABEL_OPACITY if label else value
                assert abs(overlay[row, column, channel] - expected) <= 0.51


def test_photos_are_jpegs_close_to_the_image(pixels_of):
    image = np.full((32, 16, 3), (200, 40, 90), dtype=np.uint8)
    image[10:20, 4:12] = (20, 180, 60)
    picture = photo(image, "somebody")
    assert (picture.width, picture.height, picture.alt) == (16, 32, "somebody")
    assert np.abs(pixels_of(picture.uri).astype(int) - image).mean() < 4


def test_masks_are_kept_exactly(pixels_of):
    mask = np.random.default_rng(4).random((19, 11)) < 0.4
    picture = mask_picture(mask, "mask")
    assert (picture.width, picture.height) == (11, 19)
    assert np.array_equal(pixels_of(picture.uri).astype(bool), mask)


def test_a_photo_without_pixels_is_an_error():
    with pytest.raises(Exception, match=r"empty|shape"):
        photo(np.zeros((0, 4, 3), dtype=np.uint8), "nothing")
