"""Building open_clip models: one path for all, known grids, strict loading."""

import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import InputError
from pipeline.models.checkpoint import load_strictly
from pipeline.models.clip import ClipSpec, build_image_encoder, clip_state, load_clip


def seeded_images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_features_are_the_towers_own(tiny_clip_config):
    clip = load_clip(str(tiny_clip_config), image_size=(64, 32)).freeze()
    images = seeded_images(3, 3, 64, 32)
    features = clip.image_encoder(images)
    assert clip.spec.grid == (4, 2)
    torch.testing.assert_close(features.projected, clip.image_encoder.tower(images))
    blocks = clip.image_encoder.tower.forward_intermediates(images, output_fmt="NLC", output_extra_tokens=True)
    torch.testing.assert_close(features.earlier, blocks["image_intermediates_prefix"][-2][:, 0])
    torch.testing.assert_close(features.hidden @ clip.image_encoder.tower.proj, features.projected)


@pytest.mark.parametrize(("name", "grid", "dimensions"), [
    ("ViT-B-32-quickgelu", (8, 4), (512, 768, 768)),
    ("RN50-quickgelu", (8, 4), (1024, 2048, 1024)),
])  # fmt: skip
def test_public_models_take_a_256x128_input(name, grid, dimensions):
    clip = load_clip(name, image_size=(256, 128)).freeze()
    assert clip.spec.grid == grid
    images = seeded_images(1, 3, 256, 128)
    features = clip.image_encoder(images)
    assert tuple(part.shape[1] for part in features) == dimensions
    encoder = clip.image_encoder
    assert (encoder.projected_dim, encoder.hidden_dim, encoder.earlier_dim) == dimensions
    torch.testing.assert_close(features.projected, encoder.tower(images))


def test_text_features_are_the_towers_own(tiny_clip_config):
    clip = load_clip(str(tiny_clip_config), image_size=(64, 32)).freeze()
    tokens = clip.tokenizer(["a photo of a person", "clothes"])
    torch.testing.assert_close(clip.text_encoder.encode_tokens(tokens), clip.text_encoder.tower(tokens))


def test_saved_weights_load_again_and_plain_open_clip_reads_them(tiny_clip_config, tmp_path):
    clip = load_clip(str(tiny_clip_config), image_size=(64, 32), seed=3).freeze()
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path, metadata={"grid": "4x2"})
    again = load_clip(str(tiny_clip_config), str(path), image_size=(64, 32), seed=4).freeze()
    images = seeded_images(2, 3, 64, 32)
    torch.testing.assert_close(again.image_encoder(images), clip.image_encoder(images))
    assert len(again.weights_sha256) == 64
    plain = open_clip.create_model("tiny-clip", pretrained=str(path), force_custom_text=True)
    torch.testing.assert_close(plain.eval().encode_image(images), clip.image_encoder(images).projected)


def test_seed_decides_random_weights_and_leaves_the_global_generator_alone(tiny_clip_config):
    before = torch.random.get_rng_state()
    first, same, other = (load_clip(str(tiny_clip_config), image_size=(64, 32), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    key = "visual.conv1.weight"
    assert torch.equal(clip_state(first)[key], clip_state(same)[key])
    assert not torch.equal(clip_state(first)[key], clip_state(other)[key])


def test_conv_stem_keeps_the_grid_and_is_part_of_the_weights(tiny_clip_config, tmp_path):
    clip = load_clip(str(tiny_clip_config), stem="conv", image_size=(64, 32)).freeze()
    assert clip.image_encoder(seeded_images(2, 3, 64, 32)).projected.shape == (2, 24)
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path)
    load_clip(str(tiny_clip_config), str(path), stem="conv", image_size=(64, 32))
    with pytest.raises(InputError, match=r"visual\.conv1"):
        load_clip(str(tiny_clip_config), str(path), stem="patch", image_size=(64, 32))


def test_a_grid_of_the_right_count_but_other_shape_is_refused(tiny_clip_config, tmp_path):
    clip = load_clip(str(tiny_clip_config), image_size=(64, 32))
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path, metadata={"grid": "2x4"})
    with pytest.raises(InputError, match="holds a 2x4 position grid, the model configuration has 4x2"):
        load_clip(str(tiny_clip_config), str(path), image_size=(64, 32))


def test_position_grid_follows_the_image_size(tiny_clip_config):
    clip = load_clip(str(tiny_clip_config), image_size=(128, 64))
    assert clip.spec.grid == (8, 4)
    assert clip.image_encoder(seeded_images(1, 3, 128, 64)).projected.shape == (1, 24)


def test_spec_rebuilds_the_encoder_through_json(tiny_clip_config):
    clip = load_clip(str(tiny_clip_config), image_size=(128, 64)).freeze()
    spec = ClipSpec.from_dict(json.loads(json.dumps(clip.spec.to_dict())))
    assert spec == clip.spec
    encoder = build_image_encoder(spec).eval()
    load_strictly(encoder, clip.image_encoder.state_dict(), "the test")
    images = seeded_images(1, 3, 128, 64)
    torch.testing.assert_close(encoder(images), clip.image_encoder(images))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"name": "ViT-Z"}, "unknown model 'ViT-Z'"),
    ({"name": "nowhere.json"}, "model configuration not found: nowhere.json"),
    ({"name": "ViT-B-16-quickgelu", "pretrained": "nosuchtag"}, "neither a file nor a pretrained tag.*openai"),
    ({"name": "ViT-B-16", "pretrained": "openai"}, "another activation.*use ViT-B-16-quickgelu"),
    ({"name": "ViT-B-32", "image_size": (250, 128)}, "250x128 is not a multiple of 32x32"),
    ({"name": "EVA02-B-16"}, "timm"),
    ({"name": "RN50", "stem": "conv"}, "conv needs a vision transformer"),
])  # fmt: skip
def test_wrong_models_are_input_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        load_clip(**arguments)


def test_a_damaged_weights_file_is_an_input_error(tiny_clip_config, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="do not load into the model"):
        load_clip(str(tiny_clip_config), str(path), image_size=(64, 32))
