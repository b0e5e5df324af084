"""The network: its norms, what each output depends on, and that folding changes nothing."""

import copy
import math

import pytest
import torch
from schp_samples import PUBLISHED_TENSORS

from pipeline.parsing.schp.norm import ActivatedNorm, fuse_norms

EPSILON = 1e-5


@pytest.mark.parametrize("slope", [None, 0.01])
def test_the_norm_is_the_published_formula(slope):
    norm = ActivatedNorm(3, slope)
    weight, bias, mean, variance = [0.7, -1.3, 0.0], [0.1, -0.2, 0.3], [0.5, -0.4, 0.1], [1.5, 0.2, 0.9]
    norm.load_state_dict(
        {
            "weight": torch.tensor(weight),
            "bias": torch.tensor(bias),
            "running_mean": torch.tensor(mean),
            "running_var": torch.tensor(variance),
        }
    )
    features = torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    found = norm(features).detach()
    for index in range(2):
        for channel in range(3):
            for row in range(2):
                for column in range(4):
                    gamma = abs(weight[channel]) + EPSILON
                    value = (float(features[index, channel, row, column]) - mean[channel]) * gamma
                    value = value / math.sqrt(variance[channel] + EPSILON) + bias[channel]
                    if slope is not None and value < 0:
                        value *= 0.01
                    assert float(found[index, channel, row, column]) == pytest.approx(value, abs=1e-6)


def test_backbone_norms_have_no_activation_and_head_norms_are_leaky(lip_network):
    norms = {name: module for name, module in lip_network.named_modules() if isinstance(module, ActivatedNorm)}
    backbone = {name for name in norms if name.startswith("backbone.")}
    heads = set(norms) - backbone
    # three of the stem, three of each of 33 blocks, one of each of four shortcuts
    assert len(backbone) == 3 + 3 * 33 + 4
    # five of the context, three of the edge branch, four of the decoder, one of the fusion
    assert len(heads) == 5 + 3 + 4 + 1
    assert {norms[name].slope for name in backbone} == {None}
    assert {norms[name].slope for name in heads} == {0.01}


def test_the_backbone_has_relu_and_the_published_strides(lip_network):
    levels = lip_network.backbone(torch.randn(1, 3, 97, 65, generator=torch.Generator().manual_seed(0)))
    assert [tuple(level.shape) for level in levels] == [
        (1, 256, 25, 17),
        (1, 512, 13, 9),
        (1, 1024, 7, 5),
        (1, 2048, 7, 5),
    ]
    for level in levels:
        assert float(level.min()) == 0.0


def test_each_output_depends_on_exactly_its_own_tensors(lip_network, lip_tensors):
    """Gradients of the three outputs with respect to every tensor of the file, statistics of the norms included."""
    own = {
        (name if name.startswith(("context_encoding", "edge", "decoder", "fushion")) else f"backbone.{name}"): name
        for name in lip_tensors
    }
    tensors = {mine: lip_tensors[name].clone().requires_grad_() for mine, name in own.items()}
    assert len(tensors) == PUBLISHED_TENSORS
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 65, 65, generator=generator).requires_grad_()
    output = torch.func.functional_call(lip_network, tensors, (image,))
    decoder_head, edge_heads = ("decoder.conv4.",), ("edge.conv4.", "edge.conv5.")
    expected = {
        "fusion": lambda name: not name.startswith(decoder_head + edge_heads),
        "parsing": lambda name: not name.startswith(("edge.", "fushion.")),
        "edge": lambda name: not name.startswith(("context_encoding.", "decoder.", "fushion.", "layer4.")),
    }
    for part, depends in expected.items():
        logits = getattr(output, part)
        loss = (logits * torch.randn(logits.shape, generator=generator)).sum()
        gradients = torch.autograd.grad(loss, [image, *tensors.values()], retain_graph=True, allow_unused=True)
        assert bool(gradients[0].any()), part
        for mine, gradient in zip(tensors, gradients[1:], strict=True):
            used = gradient is not None and bool(gradient.any())
            assert used == depends(own[mine]), f"{part} and {own[mine]}"


def test_the_fusion_joins_features_of_both_branches(lip_network):
    image = torch.randn(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    seen = {}
    lip_network.fushion.register_forward_pre_hook(lambda _, inputs: seen.update(joined=inputs[0]))
    lip_network.decoder.register_forward_hook(lambda *call: seen.update(parsing=call[2][1]))
    lip_network.edge.register_forward_hook(lambda *call: seen.update(edge=call[2][1]))
    lip_network(image)
    assert torch.equal(seen["joined"], torch.cat([seen["parsing"], seen["edge"]], dim=1))


def test_folding_the_norms_changes_nothing_but_rounding(lip_network):
    image = torch.randn(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    folded = copy.deepcopy(lip_network)
    fuse_norms(folded)
    assert not any(isinstance(module, ActivatedNorm) for module in folded.modules())
    with torch.inference_mode():
        for before, after in zip(lip_network(image), folded(image), strict=True):
            assert float(before.std()) > 1
            torch.testing.assert_close(after, before, rtol=0, atol=1e-3)
