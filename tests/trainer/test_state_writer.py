"""States that are written in a thread: one at a time, of the moment they were asked for, and no failure is lost."""

import threading

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.errors import WorkError
from pipeline.trainer import states as states_module
from pipeline.trainer.state_writer import StateWriter
from pipeline.trainer.states import Snapshot, StateFolder


@pytest.fixture
def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    module = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return module, optimizer


def test_the_training_goes_on_while_a_state_is_written_and_the_state_is_of_before(tmp_path, monkeypatch, trained):
    module, optimizer = trained
    gate, hashed = threading.Event(), states_module.sha256_of_file
    monkeypatch.setattr(states_module, "sha256_of_file", lambda path: gate.wait(60) and hashed(path))
    folder = StateFolder(tmp_path / "partial", "f")
    before, moment = module.weight.detach().clone(), optimizer.state[module.weight]["exp_avg"].clone()
    values = {"curves": [1.0]}
    with StateWriter(folder, apart=True) as writer:
        writer.write(3, Snapshot.of(module, optimizer, apart=True), values, None)
        assert not writer.done
        assert folder.last() is None
        optimizer.step()
        values["curves"].append(2.0)
        gate.set()
        written = writer.finish()
        assert writer.finish() is None
    assert written == folder.last() == tmp_path / "partial" / "step-000000003"
    assert torch.equal(load_file(written / "weights.safetensors")["weight"], before)
    assert torch.equal(load_file(written / "optimizer.safetensors")["weight:exp_avg"], moment)
    assert folder.find().values["curves"] == [1.0]


@pytest.mark.parametrize("apart", [False, True])
def test_a_state_that_cannot_be_written_is_told_of(tmp_path, monkeypatch, trained, apart):
    def full(_):
        raise OSError("disk full")

    monkeypatch.setattr(states_module, "sha256_of_file", full)
    folder = StateFolder(tmp_path / "partial", "f")
    with (
        pytest.raises(WorkError, match="step-000000003 cannot be written: disk full; there is none before it"),
        StateWriter(folder, apart) as writer,
    ):
        writer.write(3, Snapshot.of(*trained, apart), {}, None)
    assert folder.last() is None


def test_a_second_state_waits_for_the_first(tmp_path, trained):
    folder = StateFolder(tmp_path / "partial", "f")
    with StateWriter(folder, apart=True) as writer:
        for step in (3, 4):
            writer.write(step, Snapshot.of(*trained, apart=True), {}, None)
            assert step == 3 or folder.last().name in ("step-000000003", "step-000000004")
    assert [path.name for path in folder.folder.iterdir()] == ["step-000000004"]
