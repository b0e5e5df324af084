"""Building open_clip models: one path for all, known grids, strict loading."""

import json

import open_clip
import pytest
import torch
from clips import make_clip
from safetensors.torch import save_file

from pipeline.errors import InputError
from pipeline.models.checkpoint import load_strictly
from pipeline.models.clip import ClipSpec, build_image_encoder, clip_state
from pipeline.models.grids import native_grid, set_grid
from pipeline.models.text_encoder import TextEncoder
from pipeline.models.towers import wrap_image_tower


def seeded_images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_features_are_the_towers_own(tiny_clip_config):
    clip = make_clip(tiny_clip_config, image_size=(64, 32)).freeze()
    images = seeded_images(3, 3, 64, 32)
    features = clip.image_encoder(images)
    assert clip.spec.grid == (4, 2)
    torch.testing.assert_close(features.projected, clip.image_encoder.tower(images))
    blocks = clip.image_encoder.tower.forward_intermediates(images, output_fmt="NLC", output_extra_tokens=True)
    torch.testing.assert_close(features.earlier, blocks["image_intermediates_prefix"][-2][:, 0])
    torch.testing.assert_close(features.hidden @ clip.image_encoder.tower.proj, features.projected)


@pytest.mark.parametrize(("name", "grid", "dimensions"), [
    ("ViT-B-16-quickgelu", (16, 8), (512, 768, 768)),
    ("ViT-L-14-quickgelu", (18, 9), (768, 1024, 1024)),
    ("EVA02-L-14", (18, 9), (768, 1024, 1024)),
    ("EVA02-B-16", (16, 8), (512, 768, 768)),
    ("RN50-quickgelu", (8, 4), (1024, 2048, 1024)),
])  # fmt: skip
def test_large_models_have_the_published_sizes(name, grid, dimensions):
    """On torch's meta device: shapes flow through the real modules, no weight is made."""
    with torch.device("meta"):
        model = open_clip.create_model(name, pretrained=None, force_custom_text=True, device="meta")
    encoder = wrap_image_tower(model.visual)
    assert set_grid(model.visual, native_grid(model.visual, 224), (256, 128)) == grid
    features = encoder(torch.empty(2, 3, 256, 128, device="meta"))
    assert tuple(part.shape[1] for part in features) == dimensions
    assert (encoder.projected_dim, encoder.hidden_dim, encoder.earlier_dim) == dimensions
    assert TextEncoder(model.text).context_length == 77


@pytest.mark.parametrize(("name", "grid", "dimensions"), [
    ("ViT-B-32-quickgelu", (8, 4), (512, 768, 768)),
    ("RN50-quickgelu", (8, 4), (1024, 2048, 1024)),
])  # fmt: skip
def test_public_models_take_a_256x128_input(name, grid, dimensions):
    clip = make_clip(name, image_size=(256, 128)).freeze()
    assert clip.spec.grid == grid
    images = seeded_images(1, 3, 256, 128)
    features = clip.image_encoder(images)
    assert tuple(part.shape[1] for part in features) == dimensions
    encoder = clip.image_encoder
    assert (encoder.projected_dim, encoder.hidden_dim, encoder.earlier_dim) == dimensions
    torch.testing.assert_close(features.projected, encoder.tower(images))


def test_text_features_are_the_towers_own(tiny_clip_config):
    clip = make_clip(tiny_clip_config, image_size=(64, 32)).freeze()
    tokens = clip.tokenizer(["a photo of a person", "clothes"])
    torch.testing.assert_close(clip.text_encoder.encode_tokens(tokens), clip.text_encoder.tower(tokens))


def test_a_text_encoder_of_a_smaller_vocabulary_than_the_tokenizers_is_refused(tiny_clip_config, tmp_path):
    config = json.loads(tiny_clip_config.read_text())
    config["text_cfg"]["vocab_size"] = 512
    path = tmp_path / "small-vocabulary.json"
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"knows 512 tokens, and its tokenizer gives number 49,407"):
        make_clip(path, image_size=(64, 32))


def test_saved_weights_load_again_and_plain_open_clip_reads_them(tiny_clip_config, tmp_path):
    clip = make_clip(tiny_clip_config, image_size=(64, 32), seed=3).freeze()
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path, metadata={"grid": "4x2"})
    again = make_clip(tiny_clip_config, path, image_size=(64, 32), seed=4).freeze()
    images = seeded_images(2, 3, 64, 32)
    torch.testing.assert_close(again.image_encoder(images), clip.image_encoder(images))
    assert len(again.weights_sha256) == 64
    plain = open_clip.create_model("tiny-clip", pretrained=str(path), force_custom_text=True)
    torch.testing.assert_close(plain.eval().encode_image(images), clip.image_encoder(images).projected)


def test_seed_decides_random_weights_and_leaves_the_global_generator_alone(tiny_clip_config):
    before = torch.random.get_rng_state()
    first, same, other = (make_clip(tiny_clip_config, image_size=(64, 32), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    key = "visual.conv1.weight"
    assert torch.equal(clip_state(first)[key], clip_state(same)[key])
    assert not torch.equal(clip_state(first)[key], clip_state(other)[key])


def test_conv_stem_keeps_the_grid_and_is_part_of_the_weights(tiny_clip_config, tmp_path):
    clip = make_clip(tiny_clip_config, stem="conv", image_size=(64, 32)).freeze()
    assert clip.image_encoder(seeded_images(2, 3, 64, 32)).projected.shape == (2, 24)
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path)
    make_clip(tiny_clip_config, path, stem="conv", image_size=(64, 32))
    with pytest.raises(
        InputError, match=r"the file has visual\.conv1\.layers\.0.*; the model has visual\.conv1.weight"
    ):
        make_clip(tiny_clip_config, path, stem="patch", image_size=(64, 32))


def test_weights_with_another_number_of_positions_are_refused_and_not_resized_in_silence(tiny_clip_config, tmp_path):
    clip = make_clip(tiny_clip_config, image_size=(128, 64))
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path)
    reason = r"positional_embedding is \(33, 32\) in the file and \(9, 32\) in the model"
    with pytest.raises(InputError, match=reason):
        make_clip(tiny_clip_config, path, image_size=(128, 64))


def test_a_long_list_of_keys_is_cut(tiny_clip_config, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"nothing.of.this": torch.zeros(1)}, path)
    reason = r"the file has nothing.of.this, .* the model has logit_scale, .* and \d+ more, which the file lacks$"
    with pytest.raises(InputError, match=f"of another model: {reason}"):
        make_clip(tiny_clip_config, path, image_size=(64, 32))


def test_plain_layout_and_a_logit_scale_of_one_number_load(tiny_clip_config, tmp_path):
    clip = make_clip(tiny_clip_config, image_size=(64, 32), seed=3).freeze()
    plain = {key.removeprefix("text."): value for key, value in clip_state(clip).items()}
    plain["logit_scale"] = plain["logit_scale"].reshape(1)
    path = tmp_path / "weights.safetensors"
    save_file(plain, path)
    again = make_clip(tiny_clip_config, path, image_size=(64, 32), seed=4).freeze()
    images = seeded_images(2, 3, 64, 32)
    torch.testing.assert_close(again.image_encoder(images), clip.image_encoder(images))


def test_overlapping_patches_have_the_published_grid_and_see_the_same_pixels(tiny_clip_config):
    plain = make_clip(tiny_clip_config, image_size=(256, 128)).freeze()
    clip = make_clip(tiny_clip_config, image_size=(256, 128), stride=12).freeze()
    assert clip.spec.grid == (21, 10)
    images = seeded_images(1, 3, 256, 128)
    torch.testing.assert_close(clip.image_encoder(images).projected, clip.image_encoder.tower(images))
    ours, theirs = clip.image_encoder.tower.conv1(images), plain.image_encoder.tower.conv1(images)
    torch.testing.assert_close(ours[:, :, ::4, ::4], theirs[:, :, ::3, ::3])  # 48 pixels: four strides, three patches
    spec = ClipSpec.from_dict(json.loads(json.dumps(clip.spec.to_dict())))
    encoder = build_image_encoder(spec).eval()
    load_strictly(encoder, clip.image_encoder.state_dict(), "the test")
    torch.testing.assert_close(encoder(images), clip.image_encoder(images))


def test_a_dense_resnet_has_four_times_the_positions_and_the_same_weights():
    clip = make_clip("RN50-quickgelu", image_size=(64, 64), stride=16).freeze()
    assert clip.spec.grid == (4, 4)
    images = seeded_images(1, 3, 64, 64)
    assert clip.image_encoder.tower.layer4(torch.zeros(1, 1024, 4, 4)).shape[2:] == (4, 4)
    torch.testing.assert_close(clip.image_encoder(images).projected, clip.image_encoder.tower(images))
    plain = make_clip("RN50-quickgelu", image_size=(64, 64))
    assert clip.image_encoder.state_dict().keys() == plain.image_encoder.state_dict().keys()


def test_a_grid_of_the_right_count_but_other_shape_is_refused(tiny_clip_config, tmp_path):
    clip = make_clip(tiny_clip_config, image_size=(64, 32))
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path, metadata={"grid": "2x4"})
    with pytest.raises(InputError, match="holds a 2x4 position grid, the model configuration has 4x2"):
        make_clip(tiny_clip_config, path, image_size=(64, 32))


def test_position_grid_follows_the_image_size(tiny_clip_config):
    clip = make_clip(tiny_clip_config, image_size=(128, 64))
    assert clip.spec.grid == (8, 4)
    assert clip.image_encoder(seeded_images(1, 3, 128, 64)).projected.shape == (1, 24)


def test_spec_rebuilds_the_encoder_through_json(tiny_clip_config):
    clip = make_clip(tiny_clip_config, image_size=(128, 64)).freeze()
    spec = ClipSpec.from_dict(json.loads(json.dumps(clip.spec.to_dict())))
    assert spec == clip.spec
    encoder = build_image_encoder(spec).eval()
    load_strictly(encoder, clip.image_encoder.state_dict(), "the test")
    images = seeded_images(1, 3, 128, 64)
    torch.testing.assert_close(encoder(images), clip.image_encoder(images))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"name": "ViT-Z"}, "unknown model 'ViT-Z'"),
    ({"name": "nowhere.json"}, "model configuration not found: nowhere.json"),
    ({"name": "ViT-B-16-quickgelu", "pretrained": "nosuchtag"}, "neither a file nor a pretrained tag.*openai.*builtin"),
    ({"name": "walker-clip", "pretrained": "builtin:other"}, "builtin:other does not come with this package"),
    ({"name": "ViT-B-16", "pretrained": "openai"}, "another activation.*use ViT-B-16-quickgelu"),
    ({"name": "RN50", "image_size": (250, 128)}, "250x128 is not a multiple of 32x32"),
    ({"name": "RN50", "stride": 12}, "a ResNet has a stride of 32 or 16"),
    ({"name": "ViT-B-32", "image_size": (16, 128)}, "16x128 is smaller than the patch"),
    ({"name": "ViT-B-32", "stride": 33}, r"stride 33 is larger than the patch \(32\)"),
    ({"name": "walker-clip", "stem": "conv", "image_size": (128, 64), "stride": 8}, "model.stride needs model.stem"),
    ({"name": "swin_base_patch4_window7_224"}, "image tower SwinTransformer is not supported"),
    ({"name": "RN50", "stem": "conv"}, "conv needs open_clip's own vision transformer"),
])  # fmt: skip
def test_wrong_models_are_input_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        make_clip(**arguments)


def test_a_damaged_weights_file_is_an_input_error(tiny_clip_config, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="the file is neither a file of PyTorch nor one of safetensors"):
        make_clip(tiny_clip_config, path, image_size=(64, 32))
