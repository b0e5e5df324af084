"""Commands on a device that is too small or fails, and what decides a result on CUDA."""

import json

import pytest
import torch
from clips import make_clip

from pipeline.config import Parameters
from pipeline.device_faults import fitting
from pipeline.errors import InputError, WorkError
from pipeline.features import builder
from pipeline.files import read_json
from pipeline.models.recompute import can_recompute, recompute_activations
from pipeline.trainer.gradients import GradientMaker, _refuse_unsteady, is_steady
from pipeline.trainer.worker_report import read_stopped
from pipeline.trainer.workers import _worker_loop
from pipeline.training.settings import TrainingSettings
from stages import encoder_run, prompts
from stages.cli import run
from stages.device_use import fitting_encoder, fitting_figures, fitting_pretrain, settled, training_arithmetic

MEMORY = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB.\n"
    "See documentation for Memory Management\n"
)


def lacks_memory(*_, **__):
    raise torch.OutOfMemoryError(MEMORY)


def train(dataset, folder, *more: str) -> int:
    return run([
        "train", "--params", str(dataset.params), "--shards", str(dataset.shards), "--set", "encoder.epochs=1",
        "--prompts", str(folder / "prompts"), "--out", str(folder / "encoder"), "--quiet", *more,
    ])  # fmt: skip


def only_line(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture(scope="module")
def learned(figures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    assert train(figures, folder, "--stage", "prompts") == 0
    return folder


def test_stage_1_out_of_memory(figures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(GradientMaker, "losses", lacks_memory)
    assert train(figures, tmp_path, "--stage", "prompts") == 1
    line = only_line(capsys)
    assert line.startswith("error: out of memory: stage 1 with ")
    assert "at 64x32 in fp32, prompts.batch_size=16, prompts.text_chunk=256: 2.50 GiB more were asked for" in line
    assert line.endswith(
        "less is needed with prompts.text_chunk=8, or prompts.batch_size=8, or training.precision=bf16"
    )
    assert not (tmp_path / "prompts").exists()


def test_stage_2_out_of_memory(figures, learned, monkeypatch, capsys):
    monkeypatch.setattr(GradientMaker, "losses", lacks_memory)
    assert train(figures, learned, "--stage", "encoder", "--set", "encoder.identities_per_batch=4") == 1
    line = only_line(capsys)
    assert "stage 2, a step of 8 images of ccaf with " in line
    for setting in (
        "training.accumulation=2", "training.recompute_activations=true", "training.precision=bf16",
        "encoder.identities_per_batch=2", "--workers 2",
    ):  # fmt: skip
        assert setting in line


def test_a_check_between_epochs_out_of_memory_names_its_own_setting(figures, learned, monkeypatch, capsys):
    monkeypatch.setattr(builder, "encode_images", lacks_memory)
    assert train(figures, learned, "--stage", "encoder", "--restart", "--set", "training.evaluate_every=1") == 1
    assert only_line(capsys).endswith("less is needed with evaluate.batch_size=64")


def test_extract_out_of_memory(figures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(builder, "encode_images", lacks_memory)
    words = ["extract", "--frozen", "--params", str(figures.params), "--shards", str(figures.shards), "--quiet"]
    assert run([*words, "--out", str(tmp_path / "features.parquet")]) == 1
    line = only_line(capsys)
    assert "out of memory: features by " in line
    assert "at 64x32, evaluate.batch_size=128: 2.50 GiB more were asked for" in line
    assert line.endswith("less is needed with evaluate.batch_size=64")
    assert not (tmp_path / "features.parquet").exists()


@pytest.mark.parametrize(
    ("work", "settings"),
    [
        (fitting_figures, ["figures.batch_size=8", "evaluate.batch_size=64"]),
        (fitting_pretrain, ["pretrain.batch_size=24"]),
    ],
)
def test_other_work_names_its_settings(work, settings):
    with pytest.raises(WorkError) as caught, work(Parameters(), "cpu"):
        lacks_memory()
    assert str(caught.value).endswith(f"less is needed with {', or '.join(settings)}")


def test_settings_that_are_at_their_least_are_not_named():
    tight = Parameters.model_validate({
        "encoder": {"identities_per_batch": 2},
        "training": {"precision": "bf16", "recompute_activations": True, "accumulation": 4},
    })  # fmt: skip
    with pytest.raises(WorkError) as caught, fitting_encoder(tight, "cpu", workers=2):
        lacks_memory()
    assert str(caught.value).endswith("less is needed with training.accumulation=8")


@pytest.mark.parametrize(
    ("tower", "model", "training", "named"),
    [
        ("tiny-clip", {}, {}, ["accumulation", "recompute_activations"]),
        ("tiny-clip", {"stem": "conv"}, {}, ["recompute_activations"]),  # batch norms, but none in a block
        ("resnet", {}, {}, []),
        ("tiny-clip", {}, {"compile": True}, []),
        ("tiny-clip", {}, {"compile": False}, ["accumulation", "recompute_activations"]),
        (None, {}, {}, ["accumulation", "recompute_activations"]),
    ],
    ids=["transformer", "conv stem", "resnet", "compiled", "not compiled", "not read yet"],
)
def test_what_a_network_cannot_do_is_not_advised(tiny_clip_config, tmp_path, tower, model, training, named):
    encoder = None
    if tower is not None:
        config = json.loads(tiny_clip_config.read_text())
        if tower == "resnet":
            config["vision_cfg"] = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
        (tmp_path / f"{tower}.json").write_text(json.dumps(config))
        encoder = make_clip(tmp_path / f"{tower}.json", image_size=(64, 32), **model).image_encoder
    parameters = Parameters.model_validate({"training": {"precision": "bf16", **training}})
    with pytest.raises(WorkError) as caught, fitting_encoder(parameters, "cpu", encoder=encoder):
        lacks_memory()
    for name in ("accumulation", "recompute_activations"):
        assert (f"training.{name}=" in str(caught.value).partition("less is needed with ")[2]) == (name in named)
        if encoder is not None and not training:  # as the training itself would say
            can = {"accumulation": is_steady, "recompute_activations": can_recompute}[name]
            assert can(encoder) == (name in named)
    if named == ["recompute_activations"] or tower == "resnet":
        with pytest.raises(InputError, match="batch norm"), _refuse_unsteady(encoder):
            encoder.train()(torch.zeros(2, 3, 64, 32))
    if tower == "resnet":
        with pytest.raises(InputError, match="works with transformers only"):
            recompute_activations(encoder)


def test_other_errors_pass_as_they_are():
    for error in (InputError("wrong"), ValueError("broken"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, fitting("x", "cpu", []):
            raise error
        assert caught.value is error


def test_a_worker_out_of_memory_ends_the_run_with_the_line_and_is_not_tried_again(figures, tmp_path, monkeypatch):
    calls = []

    def read_inputs(*_):
        calls.append(1)
        lacks_memory()

    monkeypatch.setattr(encoder_run, "read_inputs", read_inputs)
    config = {
        "parameters": {"encoder": {"identities_per_batch": 4}}, "folder": str(tmp_path),
        "shards": "s", "prompts": "p", "out": "o",
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    loop = _worker_loop(encoder_run._worker, tmp_path, gpu=False, threads=1)
    with pytest.raises(WorkError, match="out of memory: stage 2"):
        loop(config)
    loop(config)  # what Ray does after a failure
    assert calls == [1]
    assert str(read_stopped(tmp_path)).startswith("out of memory: stage 2, a step of 16 images")


def test_a_device_that_fails_is_one_line(figures, tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ...")

    monkeypatch.setattr(prompts, "train_prompts", fails)
    assert train(figures, tmp_path, "--stage", "prompts") == 1
    assert only_line(capsys) == (
        "error: the device failed: CUDA error: an illegal memory access was encountered; "
        "run the same command again to go on"
    )


def test_on_a_cpu_they_change_no_byte_but_in_the_record(figures, learned, tmp_path):
    settings = ["--set", "training.deterministic=true", "--set", "training.tf32=true"]
    assert train(figures, tmp_path, "--stage", "prompts", *settings) == 0
    ours, theirs = tmp_path / "prompts", learned / "prompts"
    for path in sorted(theirs.iterdir()):
        if path.name != "record.json":
            assert (ours / path.name).read_bytes() == path.read_bytes(), path.name
    recorded = read_json(ours / "record.json", "record")["parameters"]["training"]
    assert recorded["tf32"] is True
    assert recorded["deterministic"] is True


@pytest.mark.parametrize(
    ("device", "given", "recorded"),
    [
        ("cpu", {}, ("fp32", False)),
        ("cpu", {"precision": "bf16"}, ("bf16", False)),  # a CPU has none
        ("cpu", {"tf32": True}, ("fp32", True)),  # as it was said
        ("cuda", {}, ("bf16", True)),
        ("cuda", {"precision": "fp32"}, ("fp32", False)),
        ("cuda", {"tf32": False}, ("bf16", False)),
        ("cuda", {"precision": "fp32", "tf32": True}, ("fp32", True)),
    ],
)
def test_what_auto_became_is_recorded(monkeypatch, device, given, recorded):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    parameters = Parameters().model_copy(update={"training": TrainingSettings(**given)})
    training = settled(parameters, device).training
    assert (training.precision, training.tf32) == recorded
    matmul = torch.backends.cuda.matmul
    with training_arithmetic(parameters, device):
        assert matmul.allow_tf32 == (device == "cuda" and recorded[1])
    assert matmul.allow_tf32 is False
