"""timm's image towers inside open_clip: the features of plain open_clip, other sizes, strides, cameras, checkpoints."""

import json

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from clips import make_clip
from safetensors.torch import save_file
from timm.layers import DropPath
from towers import FAMILIES, NATIVE, TRANSFORMERS, write_config, write_tokenizer

from pipeline.errors import InputError
from pipeline.models.checkpoint import load_strictly
from pipeline.models.clip import ClipSpec, build_image_encoder, clip_state
from pipeline.models.grids import native_grid, set_grid
from pipeline.models.recompute import recompute_activations
from pipeline.models.text_encoder import TextEncoder
from pipeline.models.towers import wrap_image_tower

STAGES = ("mobile-s", "efficientnet", "convnext")
TALL = (128, 64)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    configs = {family: write_config(folder, family) for family in FAMILIES}
    tokenizer = write_tokenizer(folder / "tokenizer")

    def make(family, **settings):
        if family == "siglip":
            settings.setdefault("tokenizer", str(tokenizer))
        return make_clip(configs[family], **{"image_size": TALL, **settings})

    return make


def seeded_images(count: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal by the size of what is expected: timm's heads start with weights of a millionth."""
    torch.testing.assert_close(found / expected.norm(), expected / expected.norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_native_size_both_encoders_are_plain_open_clips(build, family, tmp_path):
    clip = build(family, image_size=(NATIVE, NATIVE), seed=3).freeze()
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path)
    plain = open_clip.create_model(f"small-{family}", pretrained=str(path)).eval()  # strict
    images = seeded_images(2, (NATIVE, NATIVE))
    with torch.no_grad():
        same(clip.image_encoder(images).projected, plain.encode_image(images))
        tokens = clip.tokenizer(["a photo of a person", "clothes"])
        torch.testing.assert_close(clip.text_encoder.encode_tokens(tokens), plain.encode_text(tokens))
    assert (clip.logit_bias is not None) == (family == "siglip")
    again = build(family, image_size=(NATIVE, NATIVE), seed=4, pretrained=path).freeze()
    assert all(torch.equal(value, clip_state(again)[name]) for name, value in clip_state(clip).items())


@pytest.mark.parametrize("family", FAMILIES)
def test_inner_features_are_those_that_timm_gives(build, family):
    clip = build(family).freeze()
    trunk, images = clip.image_encoder.tower.trunk, seeded_images(2, TALL)
    with torch.no_grad():
        features = clip.image_encoder(images)
        last = trunk.forward_features(images)
        if family in TRANSFORMERS:
            options = {"return_prefix_tokens": True} if trunk.num_prefix_tokens else {}
            found = trunk.forward_intermediates(images, intermediates_only=True, output_fmt="NLC", **options)[-2]
            earlier = found[1][:, 0] if trunk.num_prefix_tokens else found.mean(dim=1)
            hidden = last[:, 0] if trunk.num_prefix_tokens else last.mean(dim=1)
        else:
            seen = []
            at = trunk.get_submodule(trunk.feature_info[-2]["module"]).register_forward_hook(
                lambda _module, _arguments, output: seen.append(output)
            )
            trunk(images)
            at.remove()
            earlier, hidden = seen[0].mean(dim=(2, 3)), trunk.forward_head(last, pre_logits=True)
    torch.testing.assert_close(features.earlier, earlier)
    torch.testing.assert_close(features.hidden, hidden)
    same(features.projected, clip.image_encoder.tower(images))
    encoder = clip.image_encoder
    widths = (encoder.projected_dim, encoder.hidden_dim, encoder.earlier_dim)
    assert tuple(part.shape[1] for part in features) == widths


@pytest.mark.parametrize("family", ["siglip", "pe-core"])
def test_positions_of_another_size_are_those_of_timms_dynamic_images(build, family):
    """timm resamples them in every pass, from the grid that was trained on; here they are resampled once."""
    clip = build(family, seed=7).freeze()
    native = build(family, image_size=(NATIVE, NATIVE), seed=7).freeze().image_encoder.tower
    own = FAMILIES[family]["vision_cfg"]["timm_model_name"]
    trunk = timm.create_model(
        own, num_classes=native.trunk.num_classes, global_pool="map", dynamic_img_size=True
    ).eval()
    trunk.load_state_dict(native.trunk.state_dict())
    assert clip.spec.grid == (8, 4)
    images = seeded_images(2, TALL)
    with torch.no_grad():
        same(clip.image_encoder(images).projected, trunk(images))


@pytest.mark.parametrize(("family", "stride", "grid"), [
    ("siglip", 12, (10, 5)),
    ("pe-core", 8, (15, 7)),
    ("efficientnet", 16, (8, 4)),
    ("efficientnet", 32, (4, 2)),
    ("mobile-s", None, (4, 2)),
    ("mobile-b", None, (8, 4)),
])  # fmt: skip
def test_a_stride_makes_a_grid_of_its_own_and_a_checkpoint_has_it(build, family, stride, grid):
    clip = build(family, stride=stride).freeze()
    images = seeded_images(2, TALL)
    with torch.no_grad():
        features = clip.image_encoder(images)
        last = clip.image_encoder.tower.trunk.forward_features(images)
        cells = last.shape[1] - clip.image_encoder.prefix if family in TRANSFORMERS else last[0, 0].numel()
        assert (clip.spec.grid, cells) == (grid, grid[0] * grid[1])
        spec = ClipSpec.from_dict(json.loads(json.dumps(clip.spec.to_dict())))
        encoder = build_image_encoder(spec).eval()
        load_strictly(encoder, clip.image_encoder.state_dict(), "the test")
        torch.testing.assert_close(encoder(images), features)


def test_without_its_last_halving_an_efficientnet_sees_the_same_features_at_twice_the_cells(build):
    """A last map of stride 16 has at its even cells what a map of stride 32 has, up to the layers behind them."""
    fine, coarse = (build("efficientnet", stride=stride, image_size=(256, 128)).freeze() for stride in (16, 32))
    images = seeded_images(1, (256, 128))
    seen = []
    for clip in (fine, coarse):
        trunk = clip.image_encoder.tower.trunk
        block = trunk.blocks[5][0]
        assert block.conv_dw.stride == ((1, 1) if clip is fine else (2, 2))
        hook = block.conv_dw.register_forward_hook(lambda _module, _arguments, output: seen.append(output))
        with torch.no_grad():
            clip.image_encoder(images)
        hook.remove()
    inner = slice(2, -2)
    torch.testing.assert_close(seen[0][:, :, 1::2, 1::2][:, :, inner, inner], seen[1][:, :, inner, inner])


@pytest.mark.parametrize("family", ["siglip", "pe-core", "efficientnet"])
def test_weights_of_a_clip_that_was_pretrained_at_another_size_are_taken_at_that_size(build, family, tmp_path):
    clip = build(family, seed=5)
    grid = "x".join(str(side) for side in clip.spec.grid)
    path = tmp_path / "weights.safetensors"
    save_file(clip_state(clip), path, metadata={"grid": grid})
    again = build(family, pretrained=path)
    assert all(torch.equal(value, clip_state(again)[name]) for name, value in clip_state(clip).items())
    if family == "efficientnet":  # which has no positions
        assert build(family, pretrained=path, image_size=(64, 96)).spec.grid == (2, 3)
    else:
        with pytest.raises(InputError, match=r"holds a 8x4 position grid, model.image_size and .* make 4x6"):
            build(family, pretrained=path, image_size=(64, 96))


@pytest.mark.parametrize(("family", "settings", "message"), [
    ("mobile-s", {"stride": 16}, "model.stride 16: FastVit has a stride of 32"),
    ("efficientnet", {"stride": 8}, "model.stride 8: EfficientNet has a stride of 32 or 16"),
    ("mobile-b", {"stride": 12}, "convolutions make this tower's patches, in steps of 16"),
    ("siglip", {"stride": 24}, "model.stride 24 is larger than the patch"),
    ("mobile-s", {"image_size": (120, 64)}, "not a multiple of 32x32"),
    ("mobile-b", {"image_size": (120, 64)}, "not a multiple of 16x16"),
    ("siglip", {"image_size": (8, 8)}, "smaller than the patch"),
    ("siglip", {"stem": "conv"}, "model.stem: conv needs open_clip's own vision transformer"),
])  # fmt: skip
def test_what_a_tower_cannot_take_is_refused(build, family, settings, message):
    with pytest.raises(InputError, match=message):
        build(family, **settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_weights_train_and_no_block_is_left_out_by_chance(build, family):
    clip = build(family)
    encoder = clip.image_encoder.train()
    images, cameras = seeded_images(4, TALL), torch.tensor([4, 1, 4, 9])
    if family in TRANSFORMERS:
        encoder.add_cameras(torch.tensor([1, 4]), 1.0)
    else:
        with pytest.raises(InputError, match=r"model.camera_embedding needs a vision transformer"):
            encoder.add_cameras(torch.tensor([1, 4]), 1.0)
    assert not any(module.drop_prob for module in encoder.modules() if isinstance(module, DropPath))
    features = encoder(images, cameras)
    (features.projected.sum() + features.hidden.sum() + features.earlier.sum()).backward()
    without = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert without == []
    if family in TRANSFORMERS:
        plain = encoder(images)
        turned = F.cosine_similarity(plain.projected, features.projected)
        assert (turned < 0.9999).all()


def test_a_cameras_vector_is_added_to_every_patch_where_there_is_no_class_token(build):
    clip = build("siglip").freeze()
    encoder, images = clip.image_encoder, seeded_images(2, TALL)
    encoder.add_cameras(torch.tensor([1, 4]), 2.0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = encoder(images, torch.tensor([4, 4])).projected
        encoder.tower.trunk.pos_embed += 2.0 * encoder.camera_embedding.weight[1]
        same(found, encoder(images).projected)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_recomputed_activations_give_the_same_gradients(build, family):
    gradients = []
    for again in (False, True):
        encoder = build(family).image_encoder.train()
        if again:
            recompute_activations(encoder)
        encoder(seeded_images(3, TALL)).projected.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in encoder.named_parameters()})
    assert all((gradients[1][name] is None) == (value is None) for name, value in gradients[0].items())
    for name, value in gradients[0].items():
        if value is not None:
            torch.testing.assert_close(gradients[1][name], value)


@pytest.mark.parametrize("family", STAGES)
def test_networks_of_stages_cannot_be_recomputed(build, family):
    with pytest.raises(InputError, match=r"works with transformers only, not with (FastVit|EfficientNet|ConvNeXt)"):
        recompute_activations(build(family).image_encoder)


@pytest.mark.parametrize(("name", "grid", "dimensions"), [
    ("ViT-B-16-SigLIP2", (16, 8), (768, 768, 768)),
    ("ViT-SO400M-14-SigLIP2", (18, 9), (1152, 1152, 1152)),
    ("PE-Core-B-16", (16, 8), (1024, 768, 768)),
    ("PE-Core-T-16-384", (16, 8), (512, 192, 192)),
    ("MobileCLIP-S1", (8, 4), (512, 1024, 256)),
    ("MobileCLIP2-S4", (4, 2), (768, 4096, 1024)),
    ("MobileCLIP-B", (16, 8), (512, 768, 768)),
    ("MobileCLIP2-L-14", (18, 9), (768, 1024, 1024)),
    ("convnext_base", (8, 4), (512, 1024, 512)),
])  # fmt: skip
def test_published_models_are_taken_at_256x128(name, grid, dimensions):
    """On torch's meta device: shapes flow through the real modules, no weight is made."""
    with torch.device("meta"):
        model = open_clip.create_model(name, pretrained=None, force_custom_text=True, device="meta")
        encoder = wrap_image_tower(model.visual)
        size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
        assert set_grid(model.visual, native_grid(model.visual, size), (256, 128)) == grid
        features = encoder(torch.empty(2, 3, 256, 128, device="meta"))
    assert tuple(part.shape[1] for part in features) == dimensions
    assert TextEncoder(model.text).context_length in (16, 32, 64, 77)
