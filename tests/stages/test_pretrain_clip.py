"""The command pretrain-clip: a checkpoint that the model builder loads, curves, and clear refusals."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline.datasets.walkers.population import WalkerSettings
from pipeline.datasets.walkers.writer import render_pretraining
from pipeline.models.checkpoint import read_checkpoint
from pipeline.models.clip import clip_state, load_clip
from stages.cli.pretrain_clip import command


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "walkers-pretrain"
    render_pretraining(folder, WalkerSettings(seed=0, height=64, pretrain_images=60))
    return folder


def run(config: Path, *arguments: str) -> tuple[int, str, str, BaseException | None]:
    app = typer.Typer()
    app.command()(command)
    settings = [
        f"model.name={config}",
        "model.stem=conv",
        "model.image_size=[64, 32]",
        "pretrain.batch_size=16",
        "pretrain.epochs=2",
        "threads=1",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(app, [*options, *arguments])
    return result.exit_code, result.stdout, result.stderr, result.exception


def test_writes_a_checkpoint_that_loads(images: Path, tiny_clip_config: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip"
    code, stdout, stderr, _ = run(tiny_clip_config, "--data", str(images), "--out", str(out), "--json")
    assert code == 0
    result = json.loads(stdout)
    assert result["images"] == 57
    assert result["images_held_out"] == 3
    assert "next: ccaf-pipeline" in stderr
    checkpoint = read_checkpoint(out, "clip", "ccaf-pipeline pretrain-clip")
    assert checkpoint.config["model"]["grid"] == [4, 2]
    assert checkpoint.config["parameters"]["epochs"] == 2
    clip = load_clip(str(tiny_clip_config), result["weights"], stem="conv", image_size=(64, 32))
    assert clip.weights_sha256 == checkpoint.sha256
    assert all((clip_state(clip)[name] == value).all() for name, value in checkpoint.tensors.items())
    lines = (out / "curves.csv").read_text().splitlines()
    assert len(lines) == 3
    assert {"total", "person", "clothes", "caption"} <= set(lines[0].split(","))
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_same_seed_same_weights(images: Path, tiny_clip_config: Path, tmp_path: Path) -> None:
    hashes = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = tmp_path / name
        code, stdout, stderr, _ = run(
            tiny_clip_config, "--data", str(images), "--out", str(out), "--seed", seed, "--quiet"
        )
        assert code == 0
        assert stderr == ""
        assert "hair_colour: " in stdout
        hashes.append(read_checkpoint(out, "clip", "").sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_missing_images_are_named(tiny_clip_config: Path, tmp_path: Path) -> None:
    code, _, _, error = run(tiny_clip_config, "--data", str(tmp_path / "none"), "--out", str(tmp_path / "clip"))
    assert code != 0
    assert "ccaf-pipeline synth" in str(error)
    assert not (tmp_path / "clip").exists()
