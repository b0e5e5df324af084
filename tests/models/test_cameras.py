"""The camera embedding: off unless asked for, on the class token, with a stated answer for cameras never seen."""

import pytest
import torch
from clips import make_clip

from pipeline.errors import InputError
from pipeline.models.checkpoint import load_strictly
from pipeline.models.clip import build_image_encoder

CAMERAS = torch.tensor([2, 5, 9])


def encoder_with_cameras(config, scale: float = 2.0):
    encoder = make_clip(config, image_size=(64, 32)).freeze().image_encoder
    encoder.add_cameras(CAMERAS, scale, torch.Generator().manual_seed(0))
    return encoder.eval()


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def test_the_vector_is_added_to_the_class_token_before_the_first_norm(tiny_clip_config):
    encoder = encoder_with_cameras(tiny_clip_config)
    before = encoder.tower.class_embedding.detach().clone()
    batch = images(1)
    actual = encoder(batch, torch.tensor([5])).projected
    with torch.no_grad():
        encoder.tower.class_embedding.copy_(before + 2.0 * encoder.camera_embedding.weight[1])
    torch.testing.assert_close(actual, encoder.tower(batch))


def test_without_cameras_it_is_the_bare_encoder(tiny_clip_config):
    encoder = encoder_with_cameras(tiny_clip_config)
    torch.testing.assert_close(encoder(images(2)).projected, encoder.tower(images(2)))
    bare = make_clip(tiny_clip_config, image_size=(64, 32)).freeze().image_encoder
    torch.testing.assert_close(bare(images(2), torch.tensor([2, 5])), bare(images(2)))


def test_a_camera_that_was_not_trained_on_has_the_mean_vector(tiny_clip_config):
    embedding = encoder_with_cameras(tiny_clip_config).camera_embedding
    vectors = embedding(torch.tensor([9, 0, 7, 100, -1]))
    torch.testing.assert_close(vectors[0], 2.0 * embedding.weight[2])
    for row in range(1, 5):
        torch.testing.assert_close(vectors[row], 2.0 * embedding.weight.mean(dim=0))


def test_it_is_part_of_the_encoders_weights(tiny_clip_config):
    encoder = encoder_with_cameras(tiny_clip_config)
    spec = make_clip(tiny_clip_config, image_size=(64, 32)).spec
    again = build_image_encoder(spec).eval()
    again.add_cameras(encoder.state_dict()["camera_embedding.cameras"], 2.0)
    load_strictly(again, encoder.state_dict(), "the test")
    cameras = torch.tensor([2, 9])
    torch.testing.assert_close(again(images(2), cameras), encoder(images(2), cameras))


def test_a_resnet_has_no_class_token_for_it():
    encoder = make_clip("RN50-quickgelu", image_size=(64, 32)).image_encoder
    with pytest.raises(InputError, match="needs a vision transformer"):
        encoder.add_cameras(CAMERAS, 1.0)
