"""Compiled encoders have the features and gradients of plain ones, in training only; failures are one line."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from clips import make_clip

from pipeline.config import Parameters, load_parameters
from pipeline.errors import InputError, WorkError
from pipeline.models import compiling
from pipeline.models.compiling import LEAST_STEPS, compile_encoder, is_compiled, is_worthwhile
from pipeline.trainer.distributed import Ranks
from stages.console import Console
from stages.encoder import compiles, make_task


@pytest.fixture
def encoder(tiny_clip_config):
    return make_clip(tiny_clip_config, image_size=(64, 32)).image_encoder.train()


def step(encoder, images):
    encoder.zero_grad()
    features = encoder(images, torch.zeros(len(images), dtype=torch.long))
    loss = features.projected.square().sum() + features.earlier.sum()
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in encoder.named_parameters()}


def test_losses_and_gradients_are_the_plain_ones_and_evaluation_is_not_compiled(encoder, monkeypatch):
    """By the part of PyTorch that captures and differentiates; its generator of code takes half a minute here."""
    graphs, compile_of = [], torch.compile

    def counted(function, **settings):
        inner = torch._dynamo.lookup_backend("aot_eager")
        assert settings.pop("backend") == "inductor"
        return compile_of(
            function, backend=lambda graph, inputs: graphs.append(graph) or inner(graph, inputs), **settings
        )

    monkeypatch.setattr(torch, "compile", counted)
    other = deepcopy(encoder)
    compile_encoder(other)
    images = torch.randn(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        (loss, gradients), (same_loss, same_gradients) = step(encoder, images), step(other, images)
        torch.testing.assert_close(same_loss, loss)
        assert gradients.keys() == same_gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(same_gradients[name], gradient, rtol=1e-4, atol=1e-5)
    assert len(graphs) == 1, "one graph without a break, compiled once"
    assert other.state_dict().keys() == encoder.state_dict().keys()
    with torch.no_grad():
        for count in (1, 5):
            expected, found = encoder.eval()(images[:count]), other.eval()(images[:count])
            assert torch.equal(found.projected, expected.projected)
    assert len(graphs) == 1


def test_what_cannot_be_compiled_is_one_line(encoder, monkeypatch):
    def broken(*_):
        raise RuntimeError("no C compiler was found")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    compile_encoder(encoder)
    with pytest.raises(WorkError, match=r"VisionTransformer cannot be compiled here \(.*no C compiler .*=false"):
        step(encoder, torch.randn(2, 3, 64, 32))


def test_where_it_was_left_open_it_is_said_and_computes_as_it_is_written(encoder, monkeypatch):
    def broken(*_):
        raise RuntimeError("no C compiler was found")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    other, said = deepcopy(encoder), []
    compile_encoder(other, said.append)
    assert is_compiled(other)
    images = torch.randn(2, 3, 64, 32)
    for _ in range(2):
        (loss, _), (same, _) = step(encoder, images), step(other, images)
        assert torch.equal(same, loss)
    (remark,) = said
    assert "VisionTransformer cannot be compiled here" in remark
    assert "no C compiler was found" in remark
    assert not is_compiled(other)
    assert not is_compiled(encoder)


@pytest.fixture
def card(monkeypatch):
    """What a machine with a card, Triton and a C compiler answers."""
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(compiling.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


def test_long_trainings_on_cuda_are_compiled_where_it_is_left_open(card, monkeypatch):
    assert is_worthwhile("cuda:0", LEAST_STEPS)
    assert not is_worthwhile("cuda:0", LEAST_STEPS - 1)
    assert not is_worthwhile("cpu", 10 * LEAST_STEPS)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert not is_worthwhile("cuda:0", LEAST_STEPS)


@pytest.mark.parametrize(("module", "name"), [("importlib.util", "find_spec"), ("shutil", "which")])
def test_without_triton_or_a_compiler_nothing_is_compiled_where_it_is_left_open(card, monkeypatch, module, name):
    monkeypatch.setattr(f"pipeline.models.compiling.{module}.{name}", lambda _: None)
    assert not is_worthwhile("cuda:0", LEAST_STEPS)


@pytest.mark.parametrize(
    ("training", "world", "compiled"),
    [
        ({}, 1, True),
        ({}, 2, False),
        ({"accumulation": 2}, 1, False),
        ({"recompute_activations": True}, 1, False),
        ({"deterministic": True}, 1, False),
        ({"compile": False}, 1, False),
        ({"compile": True}, 2, True),
    ],
)
def test_what_is_left_open_follows_the_other_settings(monkeypatch, training, world, compiled):
    asked = []
    monkeypatch.setattr("stages.encoder.is_worthwhile", lambda device, steps: asked.append((device, steps)) or True)
    parameters = Parameters.model_validate({
        "training": training,
        "encoder": {"epochs": 7, "identities_per_batch": 4, "images_per_identity": 2},
    })  # fmt: skip
    inputs = SimpleNamespace(data=SimpleNamespace(rows=range(50)))
    assert compiles(parameters, inputs, "cuda:0", Ranks(0, world)) is compiled
    assert asked in ([], [("cuda:0", 7 * 6)])


@pytest.mark.parametrize("other", ["recompute_activations=true", "accumulation=2"])
def test_what_it_does_not_work_with_is_refused(tmp_path, other):
    (tmp_path / "p.yaml").write_text("{}")
    parameters = load_parameters(tmp_path / "p.yaml", ["training.compile=true", f"training.{other}"])
    with pytest.raises(InputError, match=r"training\.compile works neither with .* set it to false, or those to"):
        make_task(parameters, None, "cpu", Console(quiet=True))
