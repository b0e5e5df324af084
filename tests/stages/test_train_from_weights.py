"""Trainings that start from the weights that people have: a trained encoder, another program's checkpoint."""

import pyarrow.parquet as pq
import pytest
import torch
from clips import make_clip
from safetensors.torch import load_file

from pipeline.models.checkpoint import read_checkpoint
from pipeline.models.clip import clip_state
from stages.cli import run


def command(name, figures, *more):
    return run([name, "--params", str(figures.params), "--shards", str(figures.shards), *more])


def train(figures, folder, pretrained):
    places = ["--prompts", str(folder / "prompts"), "--out", str(folder / "encoder")]
    return command("train", figures, *places, "--set", f"model.pretrained={pretrained}", "--set", "encoder.epochs=1")


@pytest.fixture
def wrapped(tiny_clip_config, tmp_path):
    """Weights as a training program saves them."""
    state = clip_state(make_clip(tiny_clip_config, image_size=(64, 32), seed=8))
    torch.save(
        {"epoch": 2, "state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pt"
    )
    return tmp_path / "w.pt"


def test_a_training_goes_on_from_a_trained_encoder(figures, wrapped, tmp_path, capsys):
    assert train(figures, tmp_path / "first", wrapped) == 0
    assert f"weights {wrapped}: taken from inside state_dict module." in capsys.readouterr().err
    first = tmp_path / "first" / "encoder"
    assert train(figures, tmp_path / "second", first) == 0
    assert "the image encoder of a checkpoint of ours, with the text encoder of" in capsys.readouterr().err
    second = read_checkpoint(tmp_path / "second" / "encoder", "encoder", "")
    assert second.config["clip_sha256"] not in ("", read_checkpoint(first, "encoder", "").config["clip_sha256"])
    wrapped.unlink()
    assert train(figures, tmp_path / "third", first) == 2
    message = capsys.readouterr().err.strip()
    assert "needs the text encoder of the CLIP that it was trained from" in message
    assert "\n" not in message


def test_frozen_features_of_a_trained_encoders_weights_are_those_of_the_checkpoint(figures, wrapped, tmp_path, capsys):
    assert train(figures, tmp_path, wrapped) == 0
    own, alone = tmp_path / "own.parquet", tmp_path / "alone.parquet"
    assert command("extract", figures, "--checkpoint", str(tmp_path / "encoder"), "--out", str(own)) == 0
    tensors = load_file(tmp_path / "encoder" / "weights.safetensors")
    torch.save({"model": tensors}, tmp_path / "copy.pth")
    chosen = ["--frozen", "--set", f"model.pretrained={tmp_path / 'copy.pth'}"]
    assert command("extract", figures, *chosen, "--out", str(alone)) == 0
    assert (
        "taken from inside model, read in the form of an encoder checkpoint of ccaf-pipeline" in capsys.readouterr().err
    )
    assert pq.read_table(alone)["feature"].to_pylist() == pq.read_table(own)["feature"].to_pylist()
