"""Training that is killed (SIGKILL) at random moments, again and again, ends with the bytes of an undisturbed one."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from stages.cli import run

KILLS = 6
LONGEST_SECONDS = 0.4
"""After a state appeared; a step takes some hundredths of a second and a state about as long."""

SETTINGS = {
    "prompts": ["--set", "prompts.epochs=60"],
    "encoder": ["--set", "encoder.epochs=5", "--set", "training.evaluate_every=2"],
}


def arguments(dataset, folder: Path, stage: str) -> list[str]:
    return [
        "train", "--stage", stage, "--params", str(dataset.params), "--shards", str(dataset.shards),
        "--prompts", str(folder / "prompts"), "--out", str(folder / "encoder"), "--quiet",
        "--set", "training.save_steps=3", *SETTINGS[stage],
    ]  # fmt: skip


def train_in_process(words: list[str]) -> None:
    import torch

    torch.set_num_threads(1)
    os._exit(run(words))


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("step-*"))


def wait_for_a_new_state(process, folder: Path, before: list[str]) -> None:
    while process.is_alive() and states(folder) in (before, []):
        time.sleep(0.005)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("stage", "seed"), [("encoder", 1), ("prompts", 2)])
def test_killed_training_ends_with_the_same_bytes(figures, tmp_path, prepared_processes, stage, seed):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        if stage == "encoder":
            assert run(arguments(figures, folder, "prompts")) == 0
    assert run(arguments(figures, whole, stage)) == 0
    moments = random.Random(seed)
    kept, going_on = broken / f"{stage}.partial", set()
    for _ in range(KILLS):
        before = states(kept)
        process = prepared_processes.Process(target=train_in_process, args=(arguments(figures, broken, stage),))
        process.start()
        wait_for_a_new_state(process, kept, before)
        time.sleep(moments.uniform(0.0, LONGEST_SECONDS))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            going_on |= set(states(kept)[-1:])
        process.join()
    assert len(going_on) >= 2, "the kills came after the end: nothing was tested"
    assert run(arguments(figures, broken, stage)) == 0
    assert files_of(broken / stage) == files_of(whole / stage)
    assert not kept.exists()
