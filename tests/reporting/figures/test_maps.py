"""Attention and gradient maps: against weights computed by hand, finite formulas, and encoders whose gaze is known."""

import json

import numpy as np
import pytest
import torch
from clips import make_clip
from torch import Tensor, nn
from towers import TRANSFORMERS, write_config

from pipeline.errors import InputError
from pipeline.evaluation.protocols import CLOTHES_CHANGING
from pipeline.features.feature_set import NO_ID, FeatureSet, normalise_rows
from pipeline.models.clip import load_image_encoder
from pipeline.models.image_encoder import ImageEncoder, ImageFeatures
from pipeline.models.settings import ModelSettings
from pipeline.reporting.figures.attention_share import (
    ImageShares,
    MapModel,
    compare,
    measure,
    regions,
    right_references,
    similarity_to,
    summarise,
)
from pipeline.reporting.figures.map_figure import heat, overlay
from pipeline.reporting.figures.maps import (
    MAP_KINDS,
    PIXELS,
    Layout,
    attention_maps,
    available_maps,
    choose_maps,
    gradient_maps,
    mass_on,
    patch_layout,
    roll_out,
)

SIZE = (64, 32)


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def vit(tiny_clip_config) -> ImageEncoder:
    return make_clip(tiny_clip_config, image_size=SIZE).image_encoder.eval()


@pytest.fixture(scope="module")
def eva(tmp_path_factory) -> ImageEncoder:
    vision = {
        "image_size": 224, "timm_model_name": "eva02_tiny_patch14_224", "timm_model_pretrained": False,
        "timm_pool": "token", "timm_proj": None,
    }  # fmt: skip
    text = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    path = tmp_path_factory.mktemp("configs") / "tiny-eva-maps.json"
    path.write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "custom_text": True}))
    return make_clip(path, image_size=SIZE).image_encoder.eval()


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> ImageEncoder:
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    text = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    path = tmp_path_factory.mktemp("configs") / "tiny-resnet-maps.json"
    path.write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    return make_clip(path, image_size=SIZE).image_encoder.eval()


def attention_by_hand(block: nn.Module, tokens: Tensor) -> Tensor:
    """softmax(q k / sqrt(d)) of each head, their mean, (B, L, L)."""
    attention = block.attn
    width, heads = attention.embed_dim, attention.num_heads
    values = block.ln_1(tokens) @ attention.in_proj_weight.T + attention.in_proj_bias
    q, k = values[..., :width], values[..., width : 2 * width]
    found = []
    for head in range(heads):
        part = slice(head * width // heads, (head + 1) * width // heads)
        found.append(torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / (width // heads) ** 0.5, dim=-1))
    return torch.stack(found).mean(dim=0)


@torch.no_grad()
def all_attention_by_hand(encoder: ImageEncoder, images: Tensor) -> list[Tensor]:
    tokens, found = encoder._embed(images, None), []
    for block in encoder.tower.transformer.resblocks:
        found.append(attention_by_hand(block, tokens))
        tokens = block(tokens)
    return found


def test_attention_and_rollout_are_those_computed_by_hand(vit):
    images = seeded(3, 3, *SIZE)
    maps = attention_maps(vit, images, None, ["attention", "rollout"])
    by_hand = all_attention_by_hand(vit, images)
    torch.testing.assert_close(maps["attention"], by_hand[-1][:, 0, 1:].reshape(3, 4, 2))
    rolled = torch.eye(9).expand(3, 9, 9)
    for attention in by_hand:
        rolled = (0.5 * attention + 0.5 * torch.eye(9)) @ rolled
    torch.testing.assert_close(maps["rollout"], rolled[:, 0, 1:].reshape(3, 4, 2))
    torch.testing.assert_close(roll_out(by_hand).sum(dim=2), torch.ones(3, 9))


@torch.no_grad()
def test_the_attention_of_eva_gives_what_its_block_computes_without_showing_it(eva):
    """Weights times values, by hand, are what the fused attention of the untouched block puts out."""
    images, attention = seeded(2, 3, *SIZE), eva.tower.trunk.blocks[-1].attn
    kept = {}
    hook = attention.register_forward_hook(lambda _, inputs, output: kept.update(tokens=inputs[0], output=output))
    fused = attention.fused_attn
    eva(images)
    untouched = kept["output"]
    watch = attention.attn_drop.register_forward_hook(lambda _, _inputs, weights: kept.update(weights=weights))
    mass = attention_maps(eva, images, None, ["attention"])["attention"]
    hook.remove()
    watch.remove()
    assert attention.fused_attn == fused
    weights, tokens = kept["weights"], kept["tokens"]
    torch.testing.assert_close(weights.sum(dim=3), torch.ones(weights.shape[:3]))
    values = attention.v_proj(tokens) if attention.qkv is None else (
        tokens @ attention.qkv.weight.chunk(3)[2].T + attention.v_bias
    )  # fmt: skip
    heads = values.reshape(2, values.shape[1], attention.num_heads, -1).transpose(1, 2)
    mixed = (weights @ heads).transpose(1, 2).reshape(values.shape)
    torch.testing.assert_close(attention.proj(attention.norm(mixed)), untouched, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mass, weights.mean(dim=1)[:, 0, 1:].reshape(2, 4, 2))


@pytest.mark.parametrize(("family", "kinds", "cells"), [
    ("siglip", ("grad-cam", "gradient"), (4, 2)),  # no class token, whose attention could be shown
    ("pe-core", MAP_KINDS, (4, 2)),
    ("mobile-b", MAP_KINDS, (4, 2)),
    ("mobile-s", ("grad-cam", "gradient"), (2, 1)),
    ("efficientnet", ("grad-cam", "gradient"), (2, 1)),
])  # fmt: skip
def test_towers_of_timm_have_maps_on_cells_of_their_own(family, kinds, cells, tmp_path):
    settings = ModelSettings(name=str(write_config(tmp_path, family)), pretrained=None, image_size=SIZE)
    encoder = load_image_encoder(settings).encoder.eval()
    trunk, images = encoder.tower.trunk, seeded(2, 3, *SIZE)
    assert available_maps(encoder) == kinds
    layout = patch_layout(encoder, SIZE)
    assert layout == Layout((64 // cells[0], 32 // cells[1]), (64 // cells[0], 32 // cells[1]))
    before = encoder(images).projected.detach()
    found = gradient_maps(encoder, images, None, lambda features: features.projected.sum(dim=1), ["grad-cam"])
    torch.testing.assert_close(encoder(images).projected, before)
    if family in TRANSFORMERS:
        kept = []
        hook = trunk.blocks[-1].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        total = encoder(images).projected.sum()
        hook.remove()
        product = (kept[0] * torch.autograd.grad(total, kept[0])[0])[:, trunk.num_prefix_tokens :]
        by_hand = product.sum(dim=2).abs().reshape(2, *cells)
    else:
        last = trunk.forward_features(images).detach().requires_grad_()
        total = encoder.tower.head(trunk.forward_head(last)).sum()
        by_hand = (last * torch.autograd.grad(total, last)[0]).sum(dim=1).abs()
    torch.testing.assert_close(found["grad-cam"] / by_hand.sum(), by_hand.detach() / by_hand.sum())
    if "attention" in kinds:
        mass = attention_maps(encoder, images, None, ["attention", "rollout"])
        assert all(one.shape == (2, *cells) and 0 < one.sum(dim=(1, 2)).max() < 1 for one in mass.values())


@pytest.mark.parametrize("name", ["vit", "eva", "resnet"])
def test_taking_maps_changes_neither_the_features_nor_the_weights(name, request):
    encoder = request.getfixturevalue(name)
    images = seeded(2, 3, *SIZE)
    with torch.no_grad():
        before = encoder(images)
    reference = encoder.compared(before, "concat")
    kinds = available_maps(encoder)
    if "attention" in kinds:
        attention_maps(encoder, images, None, kinds)
    found = gradient_maps(encoder, images, None, similarity_to(reference.flip(0), encoder, "concat"), kinds)
    assert {kind: tuple(mass.shape) for kind, mass in found.items()}["gradient"] == (2, *SIZE)
    rows, columns = (2, 1) if name == "resnet" else (4, 2)
    assert found["grad-cam"].shape == (2, rows, columns)
    assert all((mass >= 0).all() and mass.sum() > 0 for mass in found.values())
    with torch.no_grad():
        torch.testing.assert_close(encoder(images).projected, before.projected)
    assert all(weight.grad is None and weight.requires_grad for weight in encoder.parameters())


@pytest.mark.parametrize("name", ["vit", "eva", "resnet"])
def test_gradients_of_a_batch_are_those_of_each_image_alone(name, request):
    encoder = request.getfixturevalue(name)
    images, target = seeded(2, 3, *SIZE), None
    with torch.no_grad():
        target = encoder.compared(encoder(images), "concat").flip(0)
    found = gradient_maps(encoder, images, None, similarity_to(target, encoder, "concat"), ["gradient", "grad-cam"])
    for row in range(2):
        pixels = images[row : row + 1].clone().requires_grad_()
        cosine = torch.cosine_similarity(
            torch.cat([*encoder(pixels)[1::-1]], dim=1), target[row : row + 1]
        )  # hidden, projected
        (gradient,) = torch.autograd.grad(cosine, pixels)
        expected = gradient.abs().sum(dim=1)[0]
        torch.testing.assert_close(found["gradient"][row], expected, rtol=1e-3, atol=1e-6)


def test_grad_cam_is_gradient_times_tokens_before_the_last_block(vit):
    images = seeded(2, 3, *SIZE)
    reference = torch.nn.functional.normalize(seeded(2, 56), dim=1)
    found = gradient_maps(vit, images, None, similarity_to(reference, vit, "concat"), ["grad-cam"])["grad-cam"]
    tower = vit.tower
    tokens = tower.transformer.resblocks[0](vit._embed(images, None)).detach().requires_grad_()
    hidden, _ = tower._pool(tower.transformer.resblocks[1](tokens))
    feature = torch.nn.functional.normalize(torch.cat([hidden, hidden @ tower.proj], dim=1), dim=1)
    (gradient,) = torch.autograd.grad((feature * reference).sum(), tokens)
    for image in range(2):
        for cell in range(8):
            value = abs(float((gradient[image, 1 + cell] * tokens[image, 1 + cell].detach()).sum()))
            assert float(found[image, cell // 2, cell % 2]) == pytest.approx(value, rel=1e-3, abs=1e-7)


def test_a_resnet_has_no_attention_and_says_so(vit, resnet):
    assert available_maps(resnet) == ("grad-cam", "gradient")
    assert choose_maps([vit, vit], None) == MAP_KINDS
    assert choose_maps([vit, resnet], None) == ("grad-cam", "gradient")
    assert choose_maps([vit], ["rollout", "rollout"]) == ("rollout",)
    with pytest.raises(InputError, match="no map attention; they have: grad-cam, gradient"):
        choose_maps([vit, resnet], ["attention"])


def test_cells_lie_as_patches_do(tiny_clip_config, eva, resnet):
    overlapping = make_clip(tiny_clip_config, image_size=SIZE, stride=12).image_encoder
    assert patch_layout(overlapping, SIZE) == Layout((16, 16), (12, 12))
    assert attention_maps(overlapping.eval(), seeded(1, 3, *SIZE), None, ["attention"])["attention"].shape == (1, 5, 2)
    conv = make_clip(tiny_clip_config, image_size=SIZE, stem="conv").image_encoder
    assert patch_layout(conv, SIZE) == Layout((16, 16), (16, 16))
    assert patch_layout(eva, SIZE) == Layout((14, 14), (14, 14))
    assert patch_layout(resnet, SIZE) == Layout((32, 32), (32, 32))


@pytest.mark.parametrize(
    "layout", [PIXELS, Layout((16, 16), (16, 16)), Layout((16, 16), (12, 12)), Layout((14, 14), (14, 14))]
)
def test_the_share_of_mass_is_an_exact_sum_over_the_pixels_of_each_cell(layout):
    region = (torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1)) > 0.6).float()
    rows, columns = ((size - cell) // step + 1 for size, cell, step in zip(SIZE, layout.cell, layout.step, strict=True))
    mass = seeded(2, rows, columns).abs()
    found = mass_on(mass, region, layout)
    for image in range(2):
        spread = np.zeros(SIZE)
        for row in range(rows):
            for column in range(columns):
                top, left = row * layout.step[0], column * layout.step[1]
                cell = (slice(top, top + layout.cell[0]), slice(left, left + layout.cell[1]))
                spread[cell] += float(mass[image, row, column]) / (layout.cell[0] * layout.cell[1])
        expected = (spread * region[image].numpy()).sum() / spread.sum()
        assert float(found[image]) == pytest.approx(expected, rel=1e-5)


def test_no_mass_has_no_share():
    assert torch.isnan(mass_on(torch.zeros(1, 4, 2), torch.ones(1, *SIZE), Layout((16, 16), (16, 16)))).all()


class Gazer(ImageEncoder):
    """Its feature is made of the pixels under a given weight, and of nothing else."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(nn.Identity())
        self.register_buffer("weight", weight)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        seen = (images * self.weight).sum(dim=(2, 3))
        return ImageFeatures(seen, seen, seen)


class Parsed:
    """Clothes on the upper half of the left column, body below, background on the right."""

    def mask(self, index: int) -> np.ndarray:
        mask = np.zeros((128, 64), dtype=np.bool_)
        mask[:64, :32] = index != 2  # the third image shows none
        return mask

    def label_map(self, index: int) -> np.ndarray:
        labels = np.zeros((128, 64), dtype=np.uint8)
        labels[:, :32] = 5
        return labels


CLOTHES, BODY = np.zeros((2, *SIZE), dtype=np.float32)
CLOTHES[:32, :16] = 1
BODY[32:, :16] = 1


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(CLOTHES, [1, 0, 0]), (BODY, [0, 1, 0]), (1 - CLOTHES - BODY, [0, 0, 1]), (np.ones(SIZE), [0.25, 0.25, 0.5]),
     (CLOTHES + 3 * BODY, [0.25, 0.75, 0])],
)  # fmt: skip
def test_the_share_of_an_encoder_whose_gaze_is_known(weight, expected):
    def load(indices):
        return torch.randint(0, 256, (len(indices), *SIZE, 3), generator=torch.Generator().manual_seed(2)).byte()

    encoder = Gazer(torch.as_tensor(weight, dtype=torch.float32))
    model = MapModel(encoder, load, SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "concat", "cpu")
    references = normalise_rows(np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32))
    shares = measure(model, Parsed(), [0, 1, 2, 3], [0] * 4, references, ["gradient"], batch_size=3)["gradient"]
    assert np.isnan(shares.mass[2]).all()
    np.testing.assert_allclose(shares.mass[[0, 1, 3]], [expected] * 3, atol=1e-5)
    np.testing.assert_allclose(shares.area[[0, 1, 3]], [[0.25, 0.25, 0.5]] * 3, atol=1e-6)
    summary = summarise(shares, np.array([1, 1, 2, 3]), resamples=20, seed=0)
    assert summary.images == 3
    assert list(summary.mass.values()) == pytest.approx(expected, abs=1e-5)
    assert summary.interval == pytest.approx((expected[0], expected[0]), abs=1e-5)


def test_regions_add_up_at_any_size():
    for size in ((64, 32), (256, 128), (48, 20)):
        found = regions(Parsed(), 0, size)
        np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
        np.testing.assert_allclose(found.mean(axis=(1, 2)), [0.25, 0.25, 0.5], atol=0.01)


def test_means_are_over_images_that_count_and_intervals_over_people():
    mass = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [np.nan] * 3])
    found = summarise(ImageShares(mass, np.tile([0.3, 0.3, 0.4], (3, 1))), np.array([1, 2, 3]), 500, 0)
    assert found.mass["clothes"] == pytest.approx(0.4)
    assert found.interval == pytest.approx((0.2, 0.6))  # each of two people is drawn twice in a quarter
    assert found.images == 2
    assert summarise(ImageShares(mass[2:], mass[2:]), np.array([3]), 10, 0) is None
    assert summarise(ImageShares(mass, mass), np.array([1, 2, 3]), 0, 0).interval is None


def test_differences_are_of_images_that_count_with_both():
    first = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [np.nan] * 3, [0.5, 0.5, 0]])
    second = np.array([[0.1, 0.4, 0.5], [0.3, 0.5, 0.2], [0.5, 0.5, 0], [np.nan] * 3])
    people = np.array([1, 2, 3, 4])
    found = compare(ImageShares(first, first), ImageShares(second, second), people, 500, 0)
    assert found.mean == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.1, 0.3))
    assert found.images == 2
    assert compare(ImageShares(first[2:], first[2:]), ImageShares(second[2:], second[2:]), people[2:], 5, 0) is None


def test_references_are_the_mean_of_what_a_query_should_find():
    def items(role, person, camera, clothes):
        count = len(person)
        features = normalise_rows(np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32))
        names = np.array([f"{role}{n}" for n in range(count)])
        return FeatureSet(features, names, np.full(count, role), np.array(person), np.array(camera), np.array(clothes),
                          np.full(count, NO_ID))  # fmt: skip

    query, gallery = (
        items("query", [1, 2], [1, 1], [5, 7]),
        items("gallery", [1, 1, 1, 1, 2], [2, 3, 1, 2, 2], [6, 6, 6, 5, 7]),
    )
    found = right_references(query, gallery, CLOTHES_CHANGING)
    assert found.image_id.tolist() == ["query0"]  # the second is seen in the same clothes only
    expected = (gallery.features[0] + gallery.features[1]) / 2  # not of the same camera, not in the same clothes
    np.testing.assert_allclose(found.features[0], expected / np.linalg.norm(expected), rtol=1e-5)


def test_a_hot_cell_is_brightest_on_its_patch_and_a_cold_map_is_dark():
    mass = np.zeros((4, 2), dtype=np.float32)
    assert (heat(mass, Layout((16, 16), (16, 16)), SIZE) == 0).all()
    mass[1, 1] = 2
    warmth = heat(mass, Layout((16, 16), (16, 16)), SIZE)
    row, column = np.unravel_index(int(warmth.argmax()), SIZE)
    assert 16 <= row < 32
    assert 16 <= column < 32
    assert warmth.max() == 1
    image = np.full((*SIZE, 3), 120, dtype=np.uint8)
    drawn = overlay(image, warmth)
    assert drawn[24, 24].astype(int).sum() > drawn[60, 4].astype(int).sum()
