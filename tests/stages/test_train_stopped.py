"""Training that is interrupted or terminated keeps its state, says one line, and ends with the same bytes later."""

import os
import signal
from pathlib import Path

import pytest
from test_train_killed import arguments, files_of, states

from pipeline.trainer.loop import _Trainer
from stages.cli import run

STOPPED_AFTER = 5


def train_and_hear_a_signal(words: list[str], said: Path, number: int) -> None:
    """In a process of its own, which gets the signal in the middle of a step."""
    import torch

    torch.set_num_threads(1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    step = _Trainer._one_step

    def one_step(trainer, batch, rate):
        step(trainer, batch, rate)
        if trainer.done == STOPPED_AFTER - 1:
            os.kill(os.getpid(), number)

    _Trainer._one_step = one_step
    os._exit(run(words))


@pytest.mark.parametrize(
    ("stage", "number", "code", "line"),
    [
        ("encoder", signal.SIGTERM, 143, "terminated; run the same command again to go on"),
        ("prompts", signal.SIGINT, 130, "interrupted; run the same command again to go on"),
    ],
)
def test_stopped_training_keeps_its_state(figures, tmp_path, prepared_processes, stage, number, code, line):
    def words(folder: Path, of: str = stage) -> list[str]:
        return ["training.save_steps=0" if "save_steps" in word else word for word in arguments(figures, folder, of)]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        if stage == "encoder":
            assert run(words(folder, "prompts")) == 0
    assert run(words(whole)) == 0
    said = tmp_path / "said"
    process = prepared_processes.Process(
        target=train_and_hear_a_signal, args=(words(broken), said, number), daemon=True
    )
    process.start()
    process.join(120)
    assert (process.exitcode, said.read_text().splitlines()) == (code, [line])
    kept = broken / f"{stage}.partial"
    assert states(kept)[-1].endswith(f"{STOPPED_AFTER:d}")
    assert run(words(broken)) == 0
    assert files_of(broken / stage) == files_of(whole / stage)
    assert not kept.exists()
