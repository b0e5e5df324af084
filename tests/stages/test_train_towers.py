"""Whole trainings with image towers of timm, SigLIP's text tower and tokenizer included: from prompts to ONNX."""

import json

import pyarrow.parquet as pq
import pytest
from towers import write_config, write_tokenizer

from pipeline.models.checkpoint import read_checkpoint
from stages.cli import run


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Options that name a tower of a family."""
    folder = tmp_path_factory.mktemp("towers")
    tokenizer = write_tokenizer(folder / "tokenizer")

    def of(family, *more):
        own = [f"model.tokenizer={tokenizer}"] if family == "siglip" else []
        values = [f"model.name={write_config(folder, family)}", *own, "encoder.epochs=1", *more]
        return [part for value in values for part in ("--set", value)]

    return of


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("siglip", ["model.camera_embedding=1", "training.recompute_activations=true", "model.stride=12"]),
        ("mobile-s", []),
    ],
)
def test_a_tower_goes_all_the_way(figures, sets, tmp_path, capsys, family, more):
    common = ["--params", str(figures.params), *sets(family, *more)]
    data = ["--shards", str(figures.shards)]
    encoder, features = tmp_path / "encoder", tmp_path / "features.parquet"
    assert run(["train", *common, *data, "--prompts", str(tmp_path / "prompts"), "--out", str(encoder)]) == 0
    config = read_checkpoint(encoder, "encoder", "").config
    assert config["model"]["grid"] == ([5, 2] if family == "siglip" else [2, 1])
    assert run(["extract", *common, *data, "--checkpoint", str(encoder), "--out", str(features)]) == 0
    width = {"siglip": 64, "mobile-s": 24 + 128}[family]
    assert len(pq.read_table(features)["feature"][0].as_py()) == width
    if family != "siglip":
        return
    capsys.readouterr()
    scored = ["--features", str(features), "--out", str(tmp_path / "metrics.json")]
    assert run(["evaluate", *common, *scored, "--json"]) == 0
    assert {"cc", "sc"} <= json.loads(capsys.readouterr().out)["protocols"].keys()
    out = ["--out", str(tmp_path / "onnx"), "--cameras", "mean", "--json"]
    assert run(["export", *common, *data, "--checkpoint", str(encoder), *out]) == 0
    assert (tmp_path / "onnx" / "reid.onnx").is_file()
    frozen = tmp_path / "frozen.parquet"
    assert run(["extract", *common, *data, "--frozen", "--out", str(frozen)]) == 0
    assert len(pq.read_table(frozen)) == len(pq.read_table(features))


def test_a_tokenizer_that_is_missing_stops_stage_1_in_one_line(figures, sets, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    options = [*sets("siglip"), "--set", "model.tokenizer=null"]
    places = ["--shards", str(figures.shards), "--prompts", str(tmp_path / "p"), "--out", str(tmp_path / "e")]
    assert run(["train", "--params", str(figures.params), *options, *places]) == 2
    message = capsys.readouterr().err.strip()
    assert "fetch tokenizer.json and tokenizer_config.json of the repository nobody/no-such-tokenizer" in message
    assert "\n" not in message
    assert not (tmp_path / "p").exists()
