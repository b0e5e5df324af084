"""Paired views: the same geometry and box in raw and shielding, against direct slicing."""

import numpy as np
import torch

from pipeline.models.preprocess import normalise, resize_image
from pipeline.training.views import apply_geometry, draw_geometry, paired_views

HALF = (0.5, 0.5, 0.5)


def images(count: int, height: int = 32, width: int = 16) -> torch.Tensor:
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def test_normalise_is_the_formula():
    batch = images(2)
    expected = ((batch.numpy().astype(np.float64) / 255 - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6]).transpose(0, 3, 1, 2)
    actual = normalise(batch, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)


def test_geometry_is_pad_crop_and_flip():
    batch = images(8)
    geometry = draw_geometry(np.random.default_rng(1), 8, (32, 16), pad=4)
    views = apply_geometry(batch, geometry, pad=4).numpy()
    assert geometry.flip.any()
    assert not geometry.flip.all()
    for index in range(8):
        padded = np.pad(batch[index].numpy(), ((4, 4), (4, 4), (0, 0)))
        top, left = geometry.offset[index]
        expected = padded[top : top + 32, left : left + 16]
        np.testing.assert_array_equal(views[index], expected[:, ::-1] if geometry.flip[index] else expected)


def test_equal_inputs_give_equal_views():
    batch = images(16)
    raw, shielding = paired_views(batch, batch.clone(), np.random.default_rng(2), mean=HALF, std=HALF)
    torch.testing.assert_close(raw, shielding, rtol=0, atol=0)


def test_views_differ_only_where_the_images_differ():
    batch = images(16)
    shielded = batch.clone()
    shielded[:, 8:16] = 255
    raw, shielding = paired_views(batch, shielded, np.random.default_rng(3), mean=HALF, std=HALF, erase_probability=0.0)
    differs = (raw != shielding).any(dim=1)
    assert differs.any()
    assert (shielding.permute(0, 2, 3, 1)[differs] == 1.0).all()  # every difference is white in the shielding view


def test_erased_boxes_hold_noise_of_the_wanted_share():
    batch = torch.full((400, 64, 32, 3), 128, dtype=torch.uint8)
    raw, _ = paired_views(batch, batch, np.random.default_rng(4), mean=HALF, std=HALF, pad=0, erase_probability=0.5)
    plain = normalise(batch, HALF, HALF)
    share = (raw != plain).any(dim=1).float().mean(dim=(1, 2))
    assert 0.4 < (share > 0).float().mean() < 0.6
    assert share[share > 0].min() >= 0.01
    assert share.max() <= 0.36


def test_nothing_random_with_all_probabilities_zero():
    batch = images(3)
    raw, _ = paired_views(
        batch, batch, np.random.default_rng(5), mean=HALF, std=HALF, flip_probability=0, pad=0, erase_probability=0
    )
    torch.testing.assert_close(raw, normalise(batch, HALF, HALF))


def test_resize_keeps_an_image_of_the_right_size_and_averages_when_it_shrinks():
    image = images(1)[0].numpy()
    assert resize_image(image, (32, 16)) is image
    blocks = image.reshape(16, 2, 8, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_image(image, (16, 8)), blocks, atol=0.51)
