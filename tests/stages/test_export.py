"""The export command: files, their measured losses, and what it refuses."""

import json

import numpy as np
import pytest

from pipeline.export.measure import Difference
from pipeline.export.runtime import OnnxEncoder
from pipeline.features.feature_set import read_features
from pipeline.files import read_json, sha256_of_file
from pipeline.images import resize_image
from pipeline.shards.reader import ShardReader
from stages.cli import run


@pytest.fixture(scope="module")
def trained(figures, tmp_path_factory):
    """An encoder, its features and metrics."""
    folder = tmp_path_factory.mktemp("export")
    words = ["--params", str(figures.params), "--shards", str(figures.shards), "--quiet"]
    assert run(["train", *words, "--prompts", str(folder / "prompts"), "--out", str(folder / "encoder")]) == 0
    features = folder / "features.parquet"
    assert run(["extract", *words, "--score", "--checkpoint", str(folder / "encoder"), "--out", str(features)]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(figures, trained):
    """A folder with all forms."""
    out = trained / "export"
    words = [
        "--params",
        str(figures.params),
        "--shards",
        str(figures.shards),
        "--quiet",
        "--form",
        "int8",
        "--form",
        "fp16",
    ]
    assert run(["export", *words, "--checkpoint", str(trained / "encoder"), "--out", str(out)]) == 0
    return out


def test_the_file_gives_the_features_of_extract(figures, trained, exported):
    expected, _ = read_features(trained / "features.parquet")
    reader = ShardReader(figures.shards)
    names = reader.ids.image_id.tolist()
    images = [resize_image(reader.image(names.index(name)), (64, 32)) for name in expected.image_id]
    batch = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255
    found = OnnxEncoder(exported / "reid.onnx", 1)(batch)
    np.testing.assert_allclose(found, expected.features, atol=1e-5)


def test_the_record_says_what_was_made_and_what_is_lost(trained, exported):
    record = read_json(exported / "export.json", "record")
    assert record["files"] == sorted(path.name for path in exported.iterdir())
    assert record["input"] == {"type": "float", "shape": ["batch", 3, 64, 32], "colours": "RGB"}
    assert record["output"]["dimension"] == 56
    assert record["checkpoint_sha256"] == sha256_of_file(trained / "encoder/weights.safetensors")
    assert list(record["forms"]) == ["fp16", "fp32", "int8"]
    metrics = read_json(trained / "metrics.json", "metrics")["protocols"]
    before = record["shards"]["scores"]
    assert before == {name: {key: metrics[name][key] for key in ("rank1", "mAP")} for name in metrics}
    for form, entry in record["forms"].items():
        assert entry["sha256"] == sha256_of_file(exported / entry["file"])
        assert entry["random"]["images"] == 5
        assert entry["shards"]["images"] == 56, "all of them, for they are fewer than 64"
        limit = 1e-5 if form == "fp32" else 0.1
        assert max(entry["random"]["largest"], entry["shards"]["largest"]) < limit
        assert ("lost" in entry) == (form != "fp32")
        for name, scores in entry.get("scores", {}).items():
            lost = {key: pytest.approx(before[name][key] - scores[key]) for key in scores}
            assert entry["lost"][name] == lost


def test_an_export_is_replaced_and_nothing_else_is(figures, trained, exported, tmp_path, capsys):
    out = tmp_path / "export"
    words = ["export", "--checkpoint", str(trained / "encoder"), "--out", str(out), "--params", str(figures.params)]
    assert run([*words, "--quiet", "--json", "--input", "uint8", "--feature", "projected"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["input"]["shape"] == ["batch", 64, 32, 3]
    assert record["output"]["dimension"] == 24
    first = (out / "reid.onnx").read_bytes()
    assert run([*words, "--quiet", "--input", "uint8", "--feature", "projected"]) == 0
    assert (out / "reid.onnx").read_bytes() == first, "equal exports give equal bytes"
    (out / "mine.txt").write_text("mine")
    assert run([*words, "--quiet"]) == 2
    assert "holds what ccaf-pipeline did not write (mine.txt)" in capsys.readouterr().err
    assert (out / "reid.onnx").read_bytes() == first


def test_a_file_that_differs_is_not_written(figures, trained, tmp_path, capsys, monkeypatch):
    far = Difference(5, 2e-4, 0.9, 0.95)
    monkeypatch.setattr("stages.export.Difference.between", lambda one, other: far)
    out = tmp_path / "export"
    words = ["--checkpoint", str(trained / "encoder"), "--out", str(out), "--params", str(figures.params), "--quiet"]
    assert run(["export", *words]) == 1
    assert (
        "differs from the encoder by 2.0e-04 on 5 images (random), more than 1e-04; nothing" in capsys.readouterr().err
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--checkpoint", "nowhere"], "no encoder checkpoint at nowhere"),
        (["--frozen", "--checkpoint", "x"], "give one of the two"),
        (["--frozen", "--out", "taken"], "taken is there and is no earlier export"),
        (["--frozen", "--shards", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_is_one_line(figures, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    assert run(["export", "--params", str(figures.params), "--quiet", *words]) == 2
    captured = capsys.readouterr().err.strip()
    assert message in captured
    assert "\n" not in captured
