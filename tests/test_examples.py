"""The examples run as they stand: a table of rendered people is trained on, its shards looked at, features scored."""

import csv
import io
import json
import os
import runpy
import sys
from contextlib import redirect_stdout

import nbformat
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from doc_pages import REPOSITORY
from nbclient import NotebookClient

import pipeline
from pipeline.config import Parameters
from pipeline.datasets.catalog import load_facts, read_dataset
from stages.cli import run

EXAMPLES = REPOSITORY / "examples"


def execute(folder, name, *words):
    """Run an example as its docstring says, in a folder; what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return printed.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_clip_config):
    """The folder in which the example trained on a table of walkers, and what it printed."""
    folder = tmp_path_factory.mktemp("examples")
    small = ["train_identities=4", "test_identities=3", "outfits=2", "images_per_outfit=2", "cameras=2", "height=64"]
    sets = [word for value in [*small, "pretrain_images=16"] for word in ("--set", f"synth.{value}")]
    assert run(["synth", "--out", str(folder), "--workers", "1", "--quiet", *sets]) == 0
    (folder / "walkers").rename(folder / "My_People")
    rows = read_dataset(load_facts("walkers"), folder / "My_People").manifest.to_pylist()
    with (folder / "My_People/people.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "part", "person", "cam", "outfit"])
        table.writerows([row[key] for key in ("path", "split", "person_id", "camera_id", "clothes_id")] for row in rows)
    parameters = {
        "device": "cpu",
        "threads": 1,
        "model": {"name": str(tiny_clip_config), "pretrained": None, "image_size": [64, 32]},
        "prompts": {"epochs": 1, "tokens": 2},
        "encoder": {"epochs": 1, "identities_per_batch": 2, "images_per_identity": 2},
        "evaluate": {"bootstrap": 0},
    }
    Parameters.model_validate(parameters)
    (folder / "my.yaml").write_text(yaml.safe_dump(parameters))
    words = ["My_People/people.csv", "--params", "my.yaml", "--set", "prompts.similarity=cosine"]
    return folder, len(rows), execute(folder, "train_on_your_table.py", *words)


def test_training_on_a_table_ends_with_scores_and_a_report(trained):
    folder, images, printed = trained
    artifacts = folder / "artifacts/my_people"
    metrics = json.loads((artifacts / "metrics.json").read_text())
    assert [line.partition(":")[0] for line in printed.splitlines()[:-1]] == list(metrics["protocols"])
    assert f"general: Rank-1 {metrics['protocols']['general']['rank1']:.1f}" in printed
    assert pq.read_table(artifacts / "manifest.parquet").num_rows == images
    assert "<html" in (artifacts / "report.html").read_text()


def test_the_notebook_shows_those_shards(trained, monkeypatch):
    folder, images, _ = trained
    monkeypatch.setenv("CCAF_SHARDS", str(folder / "artifacts/my_people/shards"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(EXAMPLES / "look_at_shards.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert f"{images} images of my_people, parsed by lite" in text
    assert "mean share of clothes: 0." in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_features_of_any_model_are_scored(tmp_path):
    """Two people whose queries find them at once in other clothes, one who is found last."""
    feature = np.array([[1, 0], [0, 1], [-1, -1], [1, 0.1], [0.1, 1], [1, 1]], dtype=np.float64)
    np.savez(
        tmp_path / "mine.npz",
        feature=feature,
        role=np.array(["query"] * 3 + ["gallery"] * 3),
        person_id=np.array([1, 2, 3, 1, 2, 3]),
        camera_id=np.array([1, 1, 1, 2, 2, 2]),
        clothes_id=np.array([10, 20, 30, 11, 21, 31]),
    )
    lines = execute(tmp_path, "score_features.py", "mine.npz").splitlines()
    assert lines[0].split() == ["protocol", "queries", "Rank-1", "mAP"]
    expected = 100 * (1 + 1 + 1 / 3) / 3
    assert ["cc", "3", "66.7", f"{expected:.1f}"] in [line.split() for line in lines[1:]]


@pytest.fixture(scope="module")
def embedded(trained):
    """Features of the queries and of the gallery, by embed."""
    folder, _, _ = trained
    artifacts = folder / "artifacts/my_people"
    for role in ("query", "gallery"):
        words = ["--params", str(folder / "my.yaml"), "--checkpoint", str(artifacts / "encoder"), "--role", role]
        words += ["--images", str(folder / "My_People"), "--quiet", "--out", str(folder / f"{role}.parquet")]
        assert run(["embed", str(artifacts / "manifest.parquet"), *words]) == 0
    return folder


def nearest(folder, top, allowed=lambda row: True):
    """Query, gallery image and cosine, by a plain sort."""
    (query, _), (gallery, _) = (pipeline.read_features(folder / f"{role}.parquet") for role in ("query", "gallery"))
    lines = []
    for name, feature in zip(query.image_id, query.features, strict=True):
        cosine = gallery.features @ feature
        rows = [row for row in np.argsort(-cosine, kind="stable") if allowed(gallery.camera_id[row])][:top]
        lines += [(name, gallery.image_id[row], cosine[row]) for row in rows]
    return lines


def check_lines(printed, expected):
    found = [line.split("\t") for line in printed.splitlines()]
    assert [words[0] for words in found] == [name for name, _, _ in expected]
    np.testing.assert_allclose([float(words[2]) for words in found], [cosine for _, _, cosine in expected], atol=1e-3)
    same = sum(words[1] == image for words, (_, image, _) in zip(found, expected, strict=True))
    assert same > 0.9 * len(found)  # nearly equal ones may change places


def test_faiss_finds_what_a_plain_sort_finds(embedded):
    pytest.importorskip("faiss")
    printed = execute(embedded, "search_with_faiss.py", "gallery.parquet", "query.parquet", "--top", "3")
    check_lines(printed, nearest(embedded, 3))
    assert (embedded / "gallery.faiss").stat().st_size > 0


def test_lancedb_finds_what_a_plain_sort_finds(embedded):
    pytest.importorskip("lancedb")
    words = ["gallery.parquet", "query.parquet", "--top", "3"]
    check_lines(execute(embedded, "search_with_lancedb.py", *words), nearest(embedded, 3))
    filtered = execute(embedded, "search_with_lancedb.py", *words, "--where", "camera_id = 1")
    check_lines(filtered, nearest(embedded, 3, lambda camera: camera == 1))


def test_the_examples_of_search_refuse_another_encoder(embedded):
    pytest.importorskip("faiss")
    frozen = ["--params", "my.yaml", "--frozen", "--quiet", "--out", "frozen.parquet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(embedded)
        assert run(["embed", "My_People/query", *frozen]) == 0
    with pytest.raises(SystemExit, match="different encoders"):
        execute(embedded, "search_with_faiss.py", "gallery.parquet", "frozen.parquet")
