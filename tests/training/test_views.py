"""Augmentation: equal to a plain loop with the same draws; the same geometry and box in raw and shielding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.buffers import Buffers
from pipeline.models.preprocess import normalise, resize_image
from pipeline.training.views import Geometry, augment, crop_and_flip, draw_geometry

HALF = (0.5, 0.5, 0.5)
MEAN, STD = (0.481, 0.457, 0.408), (0.268, 0.261, 0.275)


def images(count: int, height: int = 32, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, height, width), dtype=np.uint8)


def plain_loop(batch: np.ndarray, geometry: Geometry, pad: int) -> np.ndarray:
    """The same, image by image and pixel operation by pixel operation, as it is written down."""
    count, _, height, width = batch.shape
    views = np.empty(batch.shape, dtype=np.float32)
    for index in range(count):
        padded = np.pad(batch[index], ((0, 0), (pad, pad), (pad, pad)))
        top, left = geometry.offset[index]
        view = padded[:, top : top + height, left : left + width]
        if geometry.flip[index]:
            view = view[:, :, ::-1]
        view = normalise(torch.from_numpy(view.transpose(1, 2, 0).copy())[None], MEAN, STD)[0].numpy()
        row, column, tall, wide = geometry.box[index]
        if tall:
            noise = np.random.default_rng(geometry.noise_seed[index]).standard_normal((3, tall, wide), np.float32)
            view[:, row : row + tall, column : column + wide] = noise
        views[index] = view
    return views


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 9),
    height=st.integers(1, 40),
    width=st.integers(1, 24),
    pad=st.integers(0, 45),
    seed=st.integers(0, 1000),
)
def test_a_batch_is_bit_for_bit_what_a_plain_loop_gives(count, height, width, pad, seed):
    batch = images(count, height, width)
    geometry = draw_geometry(np.random.default_rng(seed), count, (height, width), pad=pad)
    actual = augment(batch, geometry, geometry.noise(), mean=MEAN, std=STD, pad=pad, buffers=Buffers())
    np.testing.assert_array_equal(actual.numpy(), plain_loop(batch, geometry, pad))


def test_another_device_gives_the_same_bits(monkeypatch):
    batch = images(6)
    geometry = draw_geometry(np.random.default_rng(3), 6, (32, 16))
    here = augment(batch, geometry, geometry.noise(), mean=MEAN, std=STD)
    device = torch.device

    class Elsewhere:
        """Says that it is no CPU; the tensors stay there, since there is no other device here."""

        def __init__(self, name: str) -> None:
            self.type = "elsewhere"

    monkeypatch.setattr(torch, "device", Elsewhere)
    there = augment(batch, geometry, geometry.noise(), mean=MEAN, std=STD)
    monkeypatch.setattr(torch, "device", device)
    assert torch.equal(here, there)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 12), height=st.integers(1, 300), width=st.integers(1, 150), seed=st.integers(0, 1000))
def test_draws_are_within_the_image(count, height, width, seed):
    geometry = draw_geometry(np.random.default_rng(seed), count, (height, width), pad=5, erase_probability=1.0)
    assert ((geometry.offset >= 0) & (geometry.offset <= 10)).all()
    top, left, tall, wide = geometry.box.T
    erased = tall > 0
    assert (erased == (wide > 0)).all()
    assert ((top >= 0) & (left >= 0) & (top + tall <= height) & (left + wide <= width)).all()
    if height > 20 and width > 20:
        assert (((tall + 1) * (wide + 1))[erased] >= 0.02 * height * width).all()
        assert (((tall - 1) * (wide - 1))[erased] <= height * width / 3).all()


def test_a_part_of_a_geometry_is_that_of_those_images():
    batch = images(8)
    geometry = draw_geometry(np.random.default_rng(4), 8, (32, 16))
    whole = augment(batch, geometry, geometry.noise(), mean=HALF, std=HALF)
    part = geometry.part(3, 6)
    assert torch.equal(augment(batch[3:6], part, part.noise(), mean=HALF, std=HALF), whole[3:6])


def test_views_differ_only_where_the_images_differ():
    batch = images(16)
    shielded = batch.copy()
    shielded[:, :, 8:16] = 255
    geometry = draw_geometry(np.random.default_rng(3), 16, (32, 16), erase_probability=0.5)
    noise = geometry.noise()
    raw, shielding = (augment(some, geometry, noise, mean=HALF, std=HALF) for some in (batch, shielded))
    differs = (raw != shielding).any(dim=1)
    assert differs.any()
    assert (shielding.permute(0, 2, 3, 1)[differs] == 1.0).all()  # every difference is white in the shielding view


def test_shares_of_flipped_and_erased_images_are_those_asked_for():
    geometry = draw_geometry(np.random.default_rng(4), 4000, (64, 32), 0.25, 0, 0.75)
    assert abs(geometry.flip.mean() - 0.25) < 0.03
    assert abs((geometry.box[:, 2] > 0).mean() - 0.75) < 0.03
    corners = geometry.box[:, :2] / np.maximum(np.array([64, 32]) - geometry.box[:, 2:], 1)
    assert abs(corners[geometry.box[:, 2] > 0].mean() - 0.5) < 0.03


def test_nothing_random_with_all_probabilities_zero():
    batch = images(3)
    geometry = draw_geometry(np.random.default_rng(5), 3, (32, 16), 0, 0, 0)
    view = augment(batch, geometry, geometry.noise(), mean=HALF, std=HALF, pad=0)
    assert torch.equal(view, normalise(torch.from_numpy(batch).permute(0, 2, 3, 1), HALF, HALF))


def test_crop_of_channels_last_memory_is_the_same():
    batch = images(4)
    geometry = draw_geometry(np.random.default_rng(6), 4, (32, 16))
    last = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(crop_and_flip(last, geometry), crop_and_flip(batch, geometry))


@pytest.mark.parametrize("layout", ["planes", "pixels"])
def test_normalise_is_the_formula(layout):
    batch = torch.from_numpy(images(2)).permute(0, 2, 3, 1)
    batch = batch if layout == "planes" else batch.contiguous()
    expected = ((batch.numpy().astype(np.float64) / 255 - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6]).transpose(0, 3, 1, 2)
    actual = normalise(batch, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert actual.is_contiguous()
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)


def test_resize_keeps_an_image_of_the_right_size_and_averages_when_it_shrinks():
    image = np.ascontiguousarray(images(1)[0].transpose(1, 2, 0))
    assert resize_image(image, (32, 16)) is image
    blocks = image.reshape(16, 2, 8, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_image(image, (16, 8)), blocks, atol=0.51)
