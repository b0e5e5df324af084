"""States on disk: what was saved comes back bit by bit, and what is damaged, foreign or half-written is not taken."""

import json
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import InputError, WorkError
from pipeline.trainer import states as checkpoints
from pipeline.trainer.states import StateFolder, optimizer_tensors


def make_module(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    module.to(memory_format=torch.channels_last)
    first, *others = module.parameters()
    optimizer = torch.optim.Adam([{"params": [first]}, {"params": others, "weight_decay": 0.1}], fused=True)
    return module, optimizer


def step(module, optimizer, seed: int) -> None:
    optimizer.zero_grad()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    module(images.to(memory_format=torch.channels_last)).square().sum().backward()
    optimizer.step()


def test_what_is_loaded_goes_on_with_the_same_bits(tmp_path):
    module, optimizer = make_module(0)
    for number in range(3):
        step(module, optimizer, number)
    states = StateFolder(tmp_path / "partial", "f")
    states.save(3, module, optimizer, {"epoch": 1, "third": 1 / 3})
    other, other_optimizer = make_module(1)
    found = states.find()
    states.load(found, other, other_optimizer)
    assert found.values["epoch"] == 1
    assert found.values["third"] == 1 / 3
    for number in (7, 8):
        step(module, optimizer, number)
        step(other, other_optimizer, number)
    for key, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    moments = optimizer_tensors(other, other_optimizer)
    for key, value in optimizer_tensors(module, optimizer).items():
        assert torch.equal(moments[key], value), key
    assert other[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_only_the_last_state_and_the_best_weights_are_kept(tmp_path):
    module, optimizer = make_module(0)
    states = StateFolder(tmp_path / "partial", "f")
    first = states.save(5, module, optimizer, {}, best={"a": torch.arange(3.0)})
    second = states.save(11, module, optimizer, {}, best=first / "best.safetensors")
    assert [path.name for path in (tmp_path / "partial").iterdir()] == ["step-000000011"]
    assert {path.name for path in second.iterdir()} == {
        "best.safetensors", "optimizer.safetensors", "state.json", "weights.safetensors",
    }  # fmt: skip
    assert states.find().folder == second


def test_the_state_before_stays_when_a_new_one_is_not_completed(tmp_path, monkeypatch):
    module, optimizer = make_module(0)
    states = StateFolder(tmp_path / "partial", "f")
    kept = states.save(5, module, optimizer, {})
    monkeypatch.setattr(checkpoints, "sha256_of_file", Mock(side_effect=OSError("disk full")))
    with pytest.raises(WorkError, match=r"step-000000006 cannot be written: disk full; step-000000005 is kept"):
        states.save(6, module, optimizer, {})
    monkeypatch.undo()
    (tmp_path / "partial" / ".step-000000006.x.tmp").mkdir()  # a killed process cannot clean up
    (tmp_path / "partial" / ".step-000000006.x.tmp" / "weights.safetensors").write_bytes(b"half")
    (tmp_path / "partial" / ".step-000000007.x.tmp").mkdir()  # nor one that was killed before it wrote anything
    states.check()
    assert states.find().folder == kept
    assert [path.name for path in (tmp_path / "partial").iterdir()] == ["step-000000005"]


def test_a_state_that_a_killed_run_had_begun_to_remove_is_in_nobodys_way(tmp_path):
    module, optimizer = make_module(0)
    states = StateFolder(tmp_path / "partial", "f")
    kept = states.save(5, module, optimizer, {})
    (tmp_path / "partial" / "step-000000003").mkdir()  # its files are gone, the description last
    states.check()
    assert states.find().folder == kept
    states.clear()
    assert not (tmp_path / "partial").exists()


def test_nothing_on_disk_is_nothing_to_go_on_from(tmp_path):
    assert StateFolder(tmp_path / "partial", "f").find() is None


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_a_damaged_state_is_refused(tmp_path, name):
    module, optimizer = make_module(0)
    step(module, optimizer, 0)
    states = StateFolder(tmp_path / "partial", "f")
    folder = states.save(5, module, optimizer, {})
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=f"is damaged: {name} is not what was saved; remove .*partial to start anew"):
        states.find()
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"is damaged: {name}"):
        states.find()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}'])
def test_a_state_that_is_no_state_is_refused(tmp_path, text):
    folder = tmp_path / "partial" / "step-000000001"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(text)
    with pytest.raises(InputError, match="training state"):
        StateFolder(tmp_path / "partial", "f").find()


def test_the_state_of_another_training_is_refused_and_says_what_differs(tmp_path):
    module, optimizer = make_module(0)
    config = {"parameters": {"epochs": 40, "milestones": (30, 50)}, "seed": 0}
    StateFolder(tmp_path / "p", "one", config).save(5, module, optimizer, {})
    other = {"parameters": {"epochs": 60, "milestones": (30, 50)}, "seed": 0}
    with pytest.raises(InputError) as caught:
        StateFolder(tmp_path / "p", "two", other).find()
    assert "an unfinished training of other parameters or inputs (parameters.epochs: 40 there, 60 here)" in str(
        caught.value
    )
    assert f"remove {tmp_path / 'p'} to start anew" in str(caught.value)


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    module, optimizer = make_module(0)
    step(module, optimizer, 0)
    states = StateFolder(tmp_path / "partial", "f")
    states.save(5, module, optimizer, {})
    with pytest.raises(InputError, match="does not load"):
        states.load(states.find(), torch.nn.Linear(2, 2), optimizer)


def test_a_state_is_json_and_safetensors_only(tmp_path):
    module, optimizer = make_module(0)
    folder = StateFolder(tmp_path / "partial", "f", {"seed": 1}).save(5, module, optimizer, {"epoch": 0})
    assert json.loads((folder / "state.json").read_text())["config"] == {"seed": 1}
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


def test_only_a_trainings_own_files_are_cleared(tmp_path):
    module, optimizer = make_module(0)
    step(module, optimizer, 0)
    folder = tmp_path / "partial"
    states = StateFolder(folder, "f")
    states.save(5, module, optimizer, {})
    run = folder / "ray" / ("0" * 16)
    for path in (
        run / "snapshot.json",
        run / "deep" / "x",
        folder / ".step-000000006.ab12.tmp" / "weights.safetensors",
    ):
        path.parent.mkdir(parents=True)
        path.write_text("ours")
    (folder / "result.json").write_text("{}")
    states.check()
    mine = ["notes.txt", "step-by-step/guide.txt", "step-000000004/plan.txt", "step-000000005/mine", "ray/mine"]
    for name in mine:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    with pytest.raises(InputError, match=r"partial holds what ccaf-pipeline did not write \(notes.txt, ray/mine, "):
        states.check()
    assert states.find().folder.name == "step-000000005"
    states.clear()
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert left == sorted(mine)
    for name in mine:
        (folder / name).unlink()
    states.save(6, module, optimizer, {})
    states.clear()
    assert not (folder / "step-000000006").exists()


def test_a_state_with_integer_weights_is_refused(tmp_path):
    states = StateFolder(tmp_path / "partial", "f")
    other = torch.nn.Linear(2, 2)
    states.save(5, other, torch.optim.SGD(other.parameters(), 0.1), {})
    found = states.find()
    save_file(
        {name: value.to(torch.int32) for name, value in other.state_dict().items()},
        found.folder / "weights.safetensors",
    )
    with pytest.raises(InputError, match="weight is int32, but these are floating"):
        states.load(found, other, torch.optim.SGD(other.parameters(), 0.1))
