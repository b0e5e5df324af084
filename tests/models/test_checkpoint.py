"""Checkpoint folders: whole or refused."""

import pytest
import torch

from pipeline.errors import InputError
from pipeline.models.checkpoint import load_strictly, read_checkpoint, save_checkpoint

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
