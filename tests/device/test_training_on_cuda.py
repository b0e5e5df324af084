"""Both stages of training on a pretended GPU: with fp32 they end with the CPU's weights."""

import csv
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from device_samples import World, assert_equal_weights
from pretended import Log
from safetensors.torch import load_file

from pipeline.trainer import gradients
from pipeline.trainer.distributed import Ranks
from pipeline.training.captions import wanted_captions
from pipeline.training.methods import METHODS
from pipeline.training.settings import AllEncoderSettings
from stages import encoder_run

CONFIGURATIONS = {
    "conv": {},
    "resnet": {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}},
    "eva02": {
        "vision_cfg": {
            "image_size": 224, "timm_model_name": "eva02_tiny_patch14_224", "timm_model_pretrained": False,
            "timm_pool": "token", "timm_proj": None,
        },
        "custom_text": True,
    },
}  # fmt: skip
"""Image towers besides the plain vision transformer: what differs from its configuration."""


def rows(path: Path) -> list[dict[str, float]]:
    """A table of numbers, without its times."""
    with path.open() as file:
        found = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if name != "seconds"} for row in found]


@pytest.fixture(scope="module")
def prompts(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts that every method but one can use, learned on the CPU."""
    folder = tmp_path_factory.mktemp("prompts")
    world.train("cpu", folder, stage="prompts")
    return folder


def test_both_stages_with_checks_between_epochs(world, tmp_path):
    settings = ("training.evaluate_every=1", "encoder.epochs=2", "prompts.epochs=2")
    for device in ("cpu", "cuda"):
        world.train(device, tmp_path / device, *settings)
    for part in ("prompts", "encoder", "encoder/best"):
        assert_equal_weights(tmp_path / "cpu" / part, tmp_path / "cuda" / part)
    for table in ("prompts/curves.csv", "encoder/curves.csv", "encoder/validations.csv"):
        for one, other in zip(rows(tmp_path / "cpu" / table), rows(tmp_path / "cuda" / table), strict=True):
            assert other == pytest.approx(one, abs=2e-5)  # they are written with so many digits
    record = json.loads((tmp_path / "cuda" / "encoder" / "record.json").read_text())
    assert record["hardware"]["gpu"] == "Pretended GPU"


@pytest.mark.parametrize("method", METHODS)
def test_every_method(world, prompts, tmp_path, method):
    own = METHODS[method].identity_images == "raw"
    needed = wanted_captions(AllEncoderSettings(method=method))
    texts = [f"encoder.captions={world.captions}"] if needed else []
    for device in ("cpu", "cuda"):
        where = {"stage": "all"} if own else {"stage": "encoder", "prompts": prompts}
        world.train(device, tmp_path / device, f"encoder.method={method}", *texts, **where)
    assert_equal_weights(tmp_path / "cpu" / "encoder", tmp_path / "cuda" / "encoder")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_short_types(world, tmp_path, precision):
    for name, number in (("plain", "fp32"), ("short", precision)):
        world.train("cuda", tmp_path / name, f"training.precision={number}", "training.clip_gradients=5.0")
    for part in ("prompts", "encoder"):
        plain, short = (rows(tmp_path / name / part / "curves.csv")[-1]["total"] for name in ("plain", "short"))
        assert short == pytest.approx(plain, rel=0.05)
        weights = load_file(tmp_path / "short" / part / "weights.safetensors").values()
        assert all(value.dtype == torch.float32 for value in weights if value.is_floating_point())
        assert all(bool(value.isfinite().all()) for value in weights)


def test_auto_is_bf16_is_recorded_as_such_and_another_precision_does_not_go_on_from_it(world, tmp_path, capfd):
    """Both stages, the losses in fp32; what ``auto`` became stands in the record, the checkpoint and the state."""
    settings = ("training.precision=auto", "training.save_steps=1")
    world.train("cuda", tmp_path / "auto", *settings)
    world.train("cuda", tmp_path / "bf16", "training.precision=bf16", "training.save_steps=1")
    for part in ("prompts", "encoder"):
        auto, named = (tmp_path / name / part for name in ("auto", "bf16"))
        assert (auto / "weights.safetensors").read_bytes() == (named / "weights.safetensors").read_bytes()
        for file in ("record.json", "config.json"):
            assert (auto / file).read_bytes() == (named / file).read_bytes()
        assert json.loads((auto / "record.json").read_text())["parameters"]["training"]["precision"] == "bf16"
    assert not (tmp_path / "auto" / "encoder.partial").exists()
    steps = iter(range(100))
    losses = gradients.GradientMaker.losses

    def interrupted(self, batch):
        if next(steps) == 1:
            raise KeyboardInterrupt
        return losses(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients.GradientMaker, "losses", interrupted)
        with pytest.raises(AssertionError, match="130"):
            world.train("cuda", tmp_path / "auto", *settings, stage="prompts")
    capfd.readouterr()
    with pytest.raises(AssertionError, match="ended with 2"):
        world.train("cpu", tmp_path / "auto", *settings, stage="prompts")
    assert "training.precision: bf16 there, fp32 here" in capfd.readouterr().err


@pytest.mark.parametrize("tower", CONFIGURATIONS)
def test_every_family_of_image_towers(world, tiny_clip_config, tmp_path, tower):
    config = tmp_path / f"tiny-{tower}.json"
    config.write_text(json.dumps(json.loads(tiny_clip_config.read_text()) | CONFIGURATIONS[tower]))
    size = "[56,28]" if tower == "eva02" else "[64,32]"
    stem = "conv" if tower == "conv" else "patch"
    model = (f"model.name={config}", f"model.image_size={size}", f"model.stem={stem}")
    for device in ("cpu", "cuda"):
        world.train(device, tmp_path / device, *model)
        features = ("--checkpoint", tmp_path / device / "encoder", "--out", tmp_path / device / "features.parquet")
        world.command(device, "extract", "--shards", world.shards, *features, settings=model)
    for part in ("prompts", "encoder"):
        assert_equal_weights(tmp_path / "cpu" / part, tmp_path / "cuda" / part, 1e-5 if tower == "resnet" else 1e-6)


@pytest.mark.parametrize("settings", [
    ("training.accumulation=2",), ("training.recompute_activations=true",), ("model.camera_embedding=1.0",),
])  # fmt: skip
def test_ways_to_compute_a_step(world, prompts, tmp_path, settings):
    for device in ("cpu", "cuda"):
        world.train(device, tmp_path / device, *settings, stage="encoder", prompts=prompts)
    assert_equal_weights(tmp_path / "cpu" / "encoder", tmp_path / "cuda" / "encoder")


def test_an_interrupted_training_goes_on_and_ends_with_the_same_weights(world, prompts, tmp_path, monkeypatch):
    every_step = ("encoder.epochs=2", "training.save_steps=1", "training.precision=fp16")
    world.train("cuda", tmp_path / "whole", *every_step, stage="encoder", prompts=prompts)
    steps = iter(range(100))
    losses = gradients.GradientMaker.losses

    def interrupted(self, batch):
        if next(steps) == 3:
            raise KeyboardInterrupt
        return losses(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(gradients.GradientMaker, "losses", interrupted)
        with pytest.raises(AssertionError, match="130"):
            world.train("cuda", tmp_path / "cut", *every_step, stage="encoder", prompts=prompts)
    assert next((tmp_path / "cut" / "encoder.partial").glob("step-*/state.json"))
    world.train("cuda", tmp_path / "cut", *every_step, stage="encoder", prompts=prompts)
    whole, cut = (tmp_path / name / "encoder" / "weights.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


def logs_of_an_epoch(world: World, out: Path, *settings: str, section: str, **where: object) -> tuple[Log, int]:
    """What a second epoch asked of the GPU besides the first, and the steps of an epoch."""
    logs = []
    for epochs in (1, 2):
        folder = out / str(epochs)
        log = world.train("cuda", folder, f"{section}.epochs={epochs}", *settings, stage=section, **where)
        assert log is not None
        logs.append(log)
    logs[1].events.subtract(logs[0].events)
    return logs[1], json.loads((out / "1" / f"{section}-timings.json").read_text())["steps"]


SETTLING = ("pipeline/trainer/curves.py:", "pipeline/trainer/timing.py:")
"""Losses and times are looked at once in 16 steps and at the end of an epoch."""


@pytest.mark.parametrize(("method", "settings"), [
    ("ccaf", ("training.precision=bf16", "training.clip_gradients=5.0", "model.camera_embedding=1.0")),
    ("ccaf", ("encoder.view_geometry=independent", "training.accumulation=2")),
    ("ccaf-plus", ("training.precision=fp16",)),
    ("ccaf", ("encoder.weights={onehot_clothes: 1, cal_classifier: 1, cal_adversarial: 1, target_alignment: 1, "
              "clothes_uniform: 1, clothes_uniform_own: 1}",)),
])  # fmt: skip
def test_a_step_of_stage_2_waits_for_nothing_and_takes_one_copy(world, prompts, tmp_path, method, settings):
    """However precise, in parts or with all terms that there are."""
    log, steps = logs_of_an_epoch(
        world, tmp_path, f"encoder.method={method}", *settings, section="encoder", prompts=prompts
    )
    waits = log.by_line(waits=True)
    assert steps > 4
    assert {line: count for line, count in waits.items() if count and not line.startswith(SETTLING)} == {}
    assert 0 < waits.total() <= 2 + steps // 16
    assert log.host_to_device == steps
    assert log.blocking_host_to_device == 0
    short = any(setting.endswith(("bf16", "fp16")) for setting in settings)
    encoders = {"ccaf": 2, "ccaf-plus": 1}[method]
    assert (
        log.operators()["_foreach_copy_"] == short * 2 * encoders * steps
    )  # their weights are cast together, and back


@pytest.mark.parametrize("settings", [(), ("training.accumulation=2", "encoder.method=cal")])
def test_a_step_of_a_rank_waits_for_nothing_and_takes_one_copy(
    world, prompts, tmp_path, one_of_two, settings, monkeypatch
):
    """As of one process: the messages to other ranks are all that several add, one for 32 MiB of gradients."""
    monkeypatch.setattr(encoder_run, "_train", partial(encoder_run._train, ranks=Ranks(0, 2)))
    log, steps = logs_of_an_epoch(
        world, tmp_path, "training.precision=bf16", *settings, section="encoder", prompts=prompts
    )
    waits = log.by_line(waits=True)
    assert steps > 4
    assert {line: count for line, count in waits.items() if count and not line.startswith(SETTLING)} == {}
    assert 0 < waits.total() <= 2 + steps // 16
    assert (log.host_to_device, log.blocking_host_to_device) == (steps, 0)
    epochs = 3  # of both runs together
    assert one_of_two.count("all_reduce") == epochs * steps
    assert one_of_two.count("all_gather") == 2 * epochs * steps  # labels and features


def test_a_step_of_stage_1_waits_for_nothing_and_takes_one_copy(world, tmp_path):
    log, steps = logs_of_an_epoch(world, tmp_path, "training.precision=bf16", section="prompts")
    waits = log.by_line(waits=True)
    assert {line: count for line, count in waits.items() if count and not line.startswith(SETTLING)} == {}
    assert log.host_to_device == steps


def test_pretraining_a_small_clip(world, tmp_path):
    data = ("--data", world.folder / "data" / "walkers-pretrain")
    for device in ("cpu", "cuda"):
        world.command(device, "pretrain-clip", *data, "--out", tmp_path / device)
    assert_equal_weights(tmp_path / "cpu", tmp_path / "cuda", 1e-5)
