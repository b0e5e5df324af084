"""Whole trainings on the GPU: killed and resumed, twice the same, deterministic; features as on the CPU."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from gpu_samples import need_cuda, settings
from safetensors.torch import load_file

from stages.cli import run

pytestmark = pytest.mark.timeout(900)  # several processes, each of which imports PyTorch

EPOCHS = 12
SAVE_STEPS = 3
PATIENCE = 200
"""Seconds that the first state of a training may take to appear."""
EQUAL_RUNS = 3.0
"""How many times the distance of two equal runs a resumed run may be away; two runs alone know their spread badly."""
ROUNDING = 1e-6
"""What a weight may differ by even where two equal runs happened to agree."""


def words(walkers, shards, folder: Path, device: str, stage: str, *more: str) -> list[str]:
    return [
        "train", "--stage", stage, *walkers, "--shards", str(shards), "--prompts", str(folder / "prompts"),
        *settings(f"device={device}", f"encoder.epochs={EPOCHS}", f"training.save_steps={SAVE_STEPS}", *more),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(walkers, shards, device, tmp_path_factory) -> Path:
    """A folder with prompts that were learned on the device."""
    folder = tmp_path_factory.mktemp("trained")
    assert run(words(walkers, shards, folder, device, "prompts")) == 0
    return folder


def train(program: list[str], command: list[str], out: Path) -> None:
    done = subprocess.run([*program, *command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def kill_and_resume(program: list[str], command: list[str], out: Path) -> None:
    """Stop a training by SIGKILL once it has saved a state, and go on from that."""
    process = subprocess.Popen([*program, *command, "--out", str(out)], stdout=subprocess.DEVNULL)
    kept = out.with_name(f"{out.name}.partial")
    until = time.monotonic() + PATIENCE
    while process.poll() is None and not list(kept.glob("step-*")):
        assert time.monotonic() < until, "no state was saved"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(kept.glob("step-*")), "the training ended before it was killed: nothing was tested"
    train(program, command, out)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def distance(one: Path, other: Path) -> float:
    """Largest difference of a weight."""
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return max(float((tensor.float() - right[name].float()).abs().max()) for name, tensor in left.items())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_killed_training_goes_on_as_an_undisturbed_one(
    walkers, shards, trained, program, device, tmp_path, precision
):
    need_cuda(device, precision)
    command = words(walkers, shards, trained, device, "encoder", f"training.precision={precision}")
    train(program, command, tmp_path / "one")
    train(program, command, tmp_path / "equal")
    kill_and_resume(program, command, tmp_path / "resumed")
    spread, found = (distance(tmp_path / "one", tmp_path / name) for name in ("equal", "resumed"))
    print(f"two equal runs differ by {spread:.2e}, the resumed one by {found:.2e}")
    assert found <= EQUAL_RUNS * spread + ROUNDING


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_deterministic_trainings_have_equal_bytes_killed_or_not(
    walkers, shards, trained, program, device, tmp_path, precision
):
    choice = ["training.deterministic=true", f"training.precision={precision}"]
    command = words(walkers, shards, trained, device, "encoder", *choice)
    train(program, command, tmp_path / "one")
    train(program, command, tmp_path / "equal")
    kill_and_resume(program, command, tmp_path / "resumed")
    one, equal, resumed = (
        (tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "equal", "resumed")
    )
    assert one == equal
    assert one == resumed
    train(program, [*command, "--seed", "1"], tmp_path / "other")
    assert distance(tmp_path / "one", tmp_path / "other") > ROUNDING, "a seed changes nothing: nothing was compared"


@pytest.mark.parametrize("allowed", [False, True], ids=["fp32", "tf32"])
def test_the_switch_for_tf32_trains(walkers, shards, trained, program, device, tmp_path, allowed):
    if allowed:
        need_cuda(device, "tf32")
    choice = f"training.tf32={str(allowed).lower()}"
    train(program, words(walkers, shards, trained, device, "encoder", choice), tmp_path / "encoder")
    assert all(bool(tensor.isfinite().all()) for tensor in weights(tmp_path / "encoder").values())


def test_features_of_a_checkpoint_are_those_of_the_cpu(walkers, shards, trained, device, tmp_path):
    command = words(walkers, shards, trained, device, "encoder", "encoder.epochs=1")
    assert run([*command, "--out", str(tmp_path / "encoder")]) == 0
    found = {}
    for where in ("cpu", device):
        out = tmp_path / f"{torch.device(where).type}-{len(found)}.parquet"
        assert run([
            "extract", *walkers, "--shards", str(shards), "--checkpoint", str(tmp_path / "encoder"),
            "--out", str(out), *settings(f"device={where}"),
        ]) == 0  # fmt: skip
        table = pq.read_table(out)
        found[len(found)] = np.stack(table["feature"].to_numpy(zero_copy_only=False))
    expected, ours = found[0], found[1]
    assert np.abs(expected - expected[0]).max() > 1e-3
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_processes_of_the_checks_see_the_same_workspace_setting():
    """Deterministic matrix products need it before the first of them; a process that is started inherits it."""
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
