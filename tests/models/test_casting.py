"""Weights that are cast together: the bits of autocast's own casts, whatever the tower."""

import json
from copy import deepcopy

import pytest
import torch
from towers import FAMILIES, write_config

from pipeline.models.casting import cast_together
from pipeline.models.clip import load_image_encoder
from pipeline.models.settings import ModelSettings
from pipeline.precision import Precision

RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}


@pytest.fixture
def make_encoder(tiny_clip_config, tmp_path):
    """An encoder in training mode, by its kind."""

    def make(kind):
        path = tiny_clip_config
        if kind == "resnet":
            path = tmp_path / "resnet.json"
            path.write_text(json.dumps({**json.loads(tiny_clip_config.read_text()), "vision_cfg": RESNET}))
        elif kind in FAMILIES:
            path = write_config(tmp_path, kind)
        stem = "conv" if kind == "conv stem" else "patch"
        settings = ModelSettings(name=str(path), pretrained=None, image_size=(64, 32), stem=stem)
        return load_image_encoder(settings).encoder.train()

    return make


def step(encoder, features=("projected", "hidden", "earlier")):
    """Loss and gradients of a step in bfloat16."""
    torch.manual_seed(0)  # some leave out blocks by chance
    images = torch.randn(4, 3, 64, 32)
    encoder.zero_grad()
    with Precision("bf16").autocast():
        found = encoder(images)
    loss = sum(getattr(found, name).float().square().sum() for name in features)
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in encoder.named_parameters()}


@pytest.mark.parametrize("kind", ["transformer", "conv stem", "resnet", *FAMILIES])
def test_losses_and_gradients_have_the_bits_of_autocast(make_encoder, kind):
    encoder = make_encoder(kind)
    other = deepcopy(encoder)
    cast_together(other)
    assert other.state_dict().keys() == encoder.state_dict().keys()
    for _ in range(2):  # batch norms count as well
        (loss, gradients), (same_loss, same_gradients) = step(encoder), step(other)
        assert torch.equal(same_loss, loss)
        assert same_gradients.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert (same_gradients[name] is None) == (gradient is None), name
            assert gradient is None or torch.equal(same_gradients[name], gradient), name
    assert all(value.dtype == torch.float32 for value in other.parameters())
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        for one, same in zip(encoder.eval()(images), other.eval()(images), strict=True):
            assert torch.equal(one, same), "without autocast it computes in float32"


def test_weights_that_a_layer_changes_before_it_uses_them_are_left_to_autocast(make_encoder):
    """A weight that is brought to mean 0 first loses bits if it is cast before."""

    class Standardised(torch.nn.Conv2d):
        def forward(self, images):
            return self._conv_forward(images, self.weight - self.weight.mean(), self.bias)

    encoder = make_encoder("transformer")
    encoder.tower.conv1.__class__ = Standardised
    other = deepcopy(encoder)
    cast_together(other)
    (loss, gradients), (same_loss, same_gradients) = step(encoder), step(other)
    assert torch.equal(same_loss, loss)
    assert torch.equal(same_gradients["tower.conv1.weight"], gradients["tower.conv1.weight"])


def test_what_is_frozen_or_not_used_has_no_gradient(make_encoder):
    encoder = make_encoder("transformer")
    encoder.tower.transformer.resblocks[0].mlp.c_fc.weight.requires_grad_(False)
    other = deepcopy(encoder)
    cast_together(other)
    gradients, same = step(encoder, ["earlier"])[1], step(other, ["earlier"])[1]
    missing = {name for name, gradient in gradients.items() if gradient is None}
    assert missing == {name for name, gradient in same.items() if gradient is None}
    assert "tower.transformer.resblocks.0.mlp.c_fc.weight" in missing, "it is frozen"
    assert "tower.transformer.resblocks.1.mlp.c_fc.weight" in missing, "the last block was not used"


def test_weights_are_back_after_an_error(make_encoder):
    encoder = make_encoder("transformer")
    cast_together(encoder)
    expected = list(encoder.parameters())
    with pytest.raises(RuntimeError), Precision("bf16").autocast():
        encoder(torch.zeros(4, 2, 64, 32))
    assert all(one is other for one, other in zip(encoder.parameters(), expected, strict=True))


def test_a_copy_computes_with_weights_of_its_own(make_encoder):
    encoder = make_encoder("vit")
    cast_together(encoder)
    copy = deepcopy(encoder)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.zero_()
    images = torch.randn(2, 3, 64, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert not copy(images).projected.any()
        assert encoder(images).projected.any()
