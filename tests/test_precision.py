"""bfloat16 by autocast, float16 only where it works, gradient checkpointing that changes no number."""

from copy import deepcopy

import pytest
import torch
from clips import make_clip

from pipeline.errors import InputError
from pipeline.models.recompute import recompute_activations
from pipeline.precision import Precision, autocast, resolve_precision, resolve_tf32


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(InputError, match="fp16 needs a CUDA device, the device here is cpu; use bf16 or fp32"):
        Precision("fp16", "cpu")


def test_bfloat16_computes_short_and_keeps_weights_and_gradients_long():
    layer = torch.nn.Linear(16, 16)
    precision = Precision("bf16", "cpu")
    with precision.autocast():
        found = layer(torch.ones(2, 16))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), layer(torch.ones(2, 16)), rtol=2e-2, atol=2e-2)
    precision.backward(found.float().square().mean())
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    assert precision.state() == {}


def test_float32_computes_long():
    with Precision().autocast():
        assert torch.nn.Linear(4, 4)(torch.ones(1, 4)).dtype == torch.float32


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_what_products_are_computed_in(precision, expected):
    context = autocast(precision, torch.device("cpu"))
    for _ in range(2):  # it can be entered again
        with context:
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_auto_is_what_the_device_does_best(monkeypatch):
    assert resolve_precision("auto", "cpu") == Precision("auto", "cpu").name == "fp32"
    assert [resolve_precision(name, "cuda") for name in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]
    imitates = {True: True, False: False}  # a card before Ampere
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: imitates[including_emulation])
    assert resolve_precision("auto", "cuda") == "fp32"
    imitates[False] = True
    assert resolve_precision("auto", "cuda") == "bf16"


def run_encoder(encoder, images):
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    encoder.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = encoder(images)
        loss = features.projected.square().sum() + features.earlier.sum()
    loss.backward()
    return loss, {name: parameter.grad for name, parameter in encoder.named_parameters()}, sum(kept)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recomputed_activations_give_equal_losses_and_gradients_and_keep_less(tiny_clip_config, dropout):
    plain = make_clip(tiny_clip_config, image_size=(64, 32)).image_encoder.train()
    for block in plain.tower.transformer.resblocks:
        block.mlp.add_module("drop", torch.nn.Dropout(dropout))
    saving = deepcopy(plain)
    recompute_activations(saving)
    images = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    loss, gradients, kept = run_encoder(plain, images)
    torch.manual_seed(1)
    other_loss, other_gradients, other_kept = run_encoder(saving, images)
    assert torch.equal(loss, other_loss)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, other_gradients[name]), name
    assert other_kept < kept / 2
    assert saving.state_dict().keys() == plain.state_dict().keys()


def test_recomputing_a_resnet_is_refused():
    clip = make_clip("RN50-quickgelu", image_size=(64, 32))
    with pytest.raises(InputError, match="works with transformers only, not with ModifiedResNet"):
        recompute_activations(clip.image_encoder)


def test_tf32_is_for_what_stays_in_float32_beside_shorter_numbers():
    assert {name: resolve_tf32("auto", name) for name in ("auto", "fp32", "bf16", "fp16")} == {
        "auto": True, "fp32": False, "bf16": True, "fp16": True,
    }  # fmt: skip
    for name in ("fp32", "bf16"):
        assert resolve_tf32(True, name) is True
        assert resolve_tf32(False, name) is False
