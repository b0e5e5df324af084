"""Weights that are cast together: the bits of autocast's own casts, whatever the tower."""

import json
from copy import deepcopy

import pytest
import torch
from clips import make_clip

from pipeline.models.casting import cast_together
from pipeline.precision import Precision

CONFIGURATIONS = {
    "transformer": {},
    "conv stem": {},
    "resnet": {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}},
    "eva02": {
        "vision_cfg": {
            "image_size": 64, "timm_model_name": "eva02_tiny_patch14_224", "timm_model_pretrained": False,
            "timm_pool": "token", "timm_proj": None,
        },
        "custom_text": True,
    },
}  # fmt: skip


def make_encoder(tiny_clip_config, tmp_path, tower):
    path = tmp_path / "tower.json"
    path.write_text(json.dumps(json.loads(tiny_clip_config.read_text()) | CONFIGURATIONS[tower]))
    size = (56, 28) if tower == "eva02" else (64, 32)
    encoder = make_clip(path, image_size=size, stem="conv" if tower == "conv stem" else "patch").image_encoder
    return encoder.train(), torch.randn(4, 3, *size, generator=torch.Generator().manual_seed(0))


def step(encoder, images, features=("projected", "hidden", "earlier")):
    """Loss and gradients of a step in bfloat16."""
    encoder.zero_grad()
    with Precision("bf16").autocast():
        found = encoder(images)
    loss = sum(getattr(found, name).float().square().sum() for name in features)
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in encoder.named_parameters()}


@pytest.mark.parametrize("tower", CONFIGURATIONS)
def test_losses_and_gradients_have_the_bits_of_autocast(tiny_clip_config, tmp_path, tower):
    encoder, images = make_encoder(tiny_clip_config, tmp_path, tower)
    other = deepcopy(encoder)
    cast_together(other)
    assert other.state_dict().keys() == encoder.state_dict().keys()
    for _ in range(2):  # batch norms count as well
        (loss, gradients), (same_loss, same_gradients) = step(encoder, images), step(other, images)
        assert torch.equal(same_loss, loss)
        assert same_gradients.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert torch.equal(same_gradients[name], gradient), name
    assert all(value.dtype == torch.float32 for value in other.parameters())
    with torch.no_grad():
        for one, same in zip(encoder.eval()(images), other.eval()(images), strict=True):
            assert torch.equal(one, same), "without autocast it computes in float32"


def test_what_is_frozen_or_not_used_has_no_gradient(tiny_clip_config, tmp_path):
    encoder, images = make_encoder(tiny_clip_config, tmp_path, "transformer")
    first = encoder.tower.transformer.resblocks[0].mlp.c_fc.weight.requires_grad_(False)
    other = deepcopy(encoder)
    cast_together(other)
    gradients, same = step(encoder, images, ["earlier"])[1], step(other, images, ["earlier"])[1]
    missing = {name for name, gradient in gradients.items() if gradient is None}
    assert missing == {name for name, gradient in same.items() if gradient is None}
    assert "tower.transformer.resblocks.0.mlp.c_fc.weight" in missing, "it is frozen"
    assert "tower.transformer.resblocks.1.mlp.c_fc.weight" in missing, "the last block was not used"
    assert first.grad is None


def test_weights_are_back_after_an_error(tiny_clip_config, tmp_path):
    encoder, images = make_encoder(tiny_clip_config, tmp_path, "transformer")
    cast_together(encoder)
    expected = list(encoder.parameters())
    with pytest.raises(RuntimeError), Precision("bf16").autocast():
        encoder(images[:, :2])
    assert all(one is other for one, other in zip(encoder.parameters(), expected, strict=True))
