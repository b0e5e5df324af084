"""EVA towers of timm inside open_clip: features, non-square grids of both position embeddings, weights files."""

import json

import open_clip
import pytest
import torch
from clips import make_clip
from safetensors.torch import save_file

from pipeline.models.checkpoint import load_strictly
from pipeline.models.clip import ClipSpec, build_image_encoder, clip_state

TINY_EVA_CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 224,
        "timm_model_name": "eva02_tiny_patch14_224",  # rotary and absolute positions, as EVA02-L-14
        "timm_model_pretrained": False,
        "timm_pool": "token",
        "timm_proj": None,
    },
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    "custom_text": True,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "tiny-eva.json"
    path.write_text(json.dumps(TINY_EVA_CONFIG))
    return path


def seeded_images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_at_its_own_size_the_features_are_plain_open_clips(config, tmp_path):
    clip = make_clip(config, image_size=(224, 224), seed=3).freeze()
    assert clip.spec.grid == (16, 16)
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path)
    plain = open_clip.create_model("tiny-eva", pretrained=str(path)).eval()
    images = seeded_images(2, 3, 224, 224)
    features = clip.image_encoder(images)
    torch.testing.assert_close(features.projected, plain.encode_image(images))
    trunk = plain.visual.trunk
    blocks = trunk.forward_intermediates(images, return_prefix_tokens=True, intermediates_only=True, output_fmt="NLC")
    torch.testing.assert_close(features.earlier, blocks[-2][1][:, 0])
    torch.testing.assert_close(features.hidden, trunk.forward_features(images)[:, 0])


@pytest.mark.parametrize(("stride", "grid"), [(None, (18, 9)), (10, (25, 12))])
def test_a_256x128_input_has_its_own_grid_of_both_positions(config, stride, grid):
    clip = make_clip(config, image_size=(256, 128), stride=stride).freeze()
    assert clip.spec.grid == grid
    trunk = clip.image_encoder.tower.trunk
    assert trunk.pos_embed.shape[1] == 1 + grid[0] * grid[1]
    images = seeded_images(2, 3, 256, 128)
    features = clip.image_encoder(images)
    torch.testing.assert_close(features.projected, clip.image_encoder.tower(images))
    spec = ClipSpec.from_dict(json.loads(json.dumps(clip.spec.to_dict())))
    encoder = build_image_encoder(spec).eval()
    load_strictly(encoder, clip.image_encoder.state_dict(), "the test")
    torch.testing.assert_close(encoder(images), features)


def test_rotary_positions_run_from_edge_to_edge_of_the_trained_grid(config):
    """A square patch of a 32 x 16 grid lies where the patch of the 16 x 16 grid lay that covers the same share."""
    square = make_clip(config, image_size=(224, 224)).image_encoder.tower.trunk.rope.pos_embed.reshape(16, 16, -1)
    tall = make_clip(config, image_size=(448, 224)).image_encoder.tower.trunk.rope.pos_embed.reshape(32, 16, -1)
    torch.testing.assert_close(tall[::2], square)


def test_all_of_it_trains(config):
    clip = make_clip(config, image_size=(70, 42))
    clip.image_encoder.add_cameras(torch.tensor([1, 4]), 1.0)
    features = clip.image_encoder(seeded_images(2, 3, 70, 42), torch.tensor([4, 1]))
    (features.projected.sum() + features.hidden.sum() + features.earlier.sum()).backward()
    without = [name for name, parameter in clip.image_encoder.named_parameters() if parameter.grad is None]
    assert without == []
