"""Checkpoint folders: whole or refused."""

import pytest
import torch

from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from pipeline.models.checkpoint import check_replaceable, load_strictly, read_checkpoint, save_checkpoint

TENSORS = {"part.a": torch.arange(3.0), "part.b": torch.ones(2, 2), "other": torch.zeros(1)}


def save(folder):
    save_checkpoint(
        folder, "prompts", TENSORS, {"seed": 5}, metadata={"grid": "4x2"}, files={"curves.csv": "epoch\n0\n"}
    )


def test_round_trip(tmp_path):
    save(tmp_path / "c")
    checkpoint = read_checkpoint(tmp_path / "c", "prompts", "train")
    assert checkpoint.config["seed"] == 5
    assert set(checkpoint.part("part")) == {"a", "b"}
    assert torch.equal(checkpoint.tensors["part.a"], TENSORS["part.a"])
    assert (tmp_path / "c" / "curves.csv").read_text() == "epoch\n0\n"


def test_equal_content_gives_equal_bytes(tmp_path):
    save(tmp_path / "a")
    save(tmp_path / "b")
    for name in ("weights.safetensors", "config.json", "curves.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_missing_names_the_command(tmp_path):
    with pytest.raises(InputError, match="run `ccaf-pipeline train` first"):
        read_checkpoint(tmp_path / "none", "encoder", "ccaf-pipeline train")


def test_another_kind_is_refused(tmp_path):
    save(tmp_path / "c")
    with pytest.raises(InputError, match="is no encoder checkpoint: run `train`, or name the right folder"):
        read_checkpoint(tmp_path / "c", "encoder", "train")


def test_a_changed_weights_file_is_refused(tmp_path):
    save(tmp_path / "c")
    path = tmp_path / "c" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(tmp_path / "c", "prompts", "train")


def test_loading_lists_the_keys_that_do_not_fit():
    with pytest.raises(InputError, match="weight"):
        load_strictly(torch.nn.Linear(2, 2), {"bias": torch.zeros(2)}, "the head")


def test_an_earlier_checkpoint_is_replaced_and_lists_its_files(tmp_path):
    for _ in range(2):
        save(tmp_path / "c")
    assert read_checkpoint(tmp_path / "c", "prompts", "train").config["files"] == [
        "config.json", "curves.csv", "weights.safetensors",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("name", ["notes.txt", "best/notes.txt", "validations.csv"])
def test_a_checkpoint_with_somebodys_own_files_is_not_replaced(tmp_path, name):
    save(tmp_path / "c")
    (tmp_path / "c" / "best").mkdir()
    (tmp_path / "c" / name).write_text("mine")
    for act in (lambda: check_replaceable(tmp_path / "c", "prompts"), lambda: save(tmp_path / "c")):
        with pytest.raises(InputError, match="holds what ccaf-pipeline did not write"):
            act()
    assert (tmp_path / "c" / name).read_text() == "mine"


def test_checkpoints_of_the_first_version_list_no_files_and_are_known_by_name(tmp_path):
    save(tmp_path / "c")
    config = read_json(tmp_path / "c" / "config.json", "config")
    del config["files"]
    write_json(tmp_path / "c" / "config.json", config)
    save(tmp_path / "c")
    assert read_checkpoint(tmp_path / "c", "prompts", "train").config["files"]


def test_integers_in_the_place_of_floats_are_refused():
    quantised = {"weight": torch.ones(2, 2, dtype=torch.int8), "bias": torch.zeros(2)}
    with pytest.raises(InputError, match=r"the head does not fit the model: weight is int8, but these are floating"):
        load_strictly(torch.nn.Linear(2, 2), quantised, "the head")
    counted = torch.nn.BatchNorm1d(2)
    load_strictly(counted, dict(counted.state_dict()), "what counts in integers")
    load_strictly(torch.nn.Linear(2, 2), {"weight": torch.ones(2, 2).half(), "bias": torch.zeros(2)}, "the head")
