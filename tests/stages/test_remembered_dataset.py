"""A data set of one's own is described once, when it is parsed; later commands need its name or its shards alone."""

import json
import shutil

import pytest
import yaml

from pipeline.shards.record import read_record
from stages.cli import run

FAST = ("--set", "encoder.epochs=1", "--set", "prompts.epochs=1", "--set", "figures.map_images=0", "--quiet")


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """A folder in which a table of images was parsed by ``--dataset people.yaml``; the description is then gone."""
    folder = tmp_path_factory.mktemp("remembered")
    small = ["train_identities=3", "test_identities=6", "outfits=2", "images_per_outfit=2", "cameras=2", "height=64"]
    sets = [word for value in small for word in ("--set", f"synth.{value}")]
    facts = {
        "name": "mine", "title": "My people", "reader": "walkers", "home": "here", "access": "mine", "terms": "none",
        "layout": "as walkers", "markers": ["train"], "protocols": ["general"],
        "roles": {"train": ["train"], "query": ["query"], "gallery": ["gallery"]},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("CCAF_DATA", raising=False)
        assert run(["synth", "--only", "walkers", "--out", "data", "--workers", "1", "--quiet", *sets]) == 0
        (folder / "data" / "walkers").rename(folder / "data" / "mine")
        (folder / "people.yaml").write_text(yaml.safe_dump(facts))
        lite = ("--set", "device=cpu", "--set", "threads=1", "--workers", "1", "--quiet")
        assert run(["parse", "--dataset", "people.yaml", "--root", "data", *lite]) == 0
    (folder / "people.yaml").rename(folder / "people.gone")
    return folder


@pytest.fixture
def place(parsed, tiny_clip_config, monkeypatch):
    """The folder, and parameters that name no data set."""
    monkeypatch.chdir(parsed)
    monkeypatch.delenv("CCAF_DATA", raising=False)
    parameters = {
        "device": "cpu",
        "threads": 1,
        "model": {"name": str(tiny_clip_config), "pretrained": None, "image_size": [64, 32]},
        "prompts": {"tokens": 2, "similarity": "cosine"},
        "encoder": {"identities_per_batch": 2, "images_per_identity": 2},
        "evaluate": {"bootstrap": 0},
    }
    (parsed / "my-params.yaml").write_text(yaml.safe_dump(parameters))
    return parsed


def test_the_name_alone_is_enough_where_the_shards_are_at_their_usual_place(place, capsys):
    options = ("--dataset", "mine", "--params", "my-params.yaml", *FAST)
    for command in (["train"], ["extract", "--score"], ["report"], ["figures", "--figure", "feature-distances"]):
        assert run([*command, *options]) == 0, capsys.readouterr().err
    assert sorted(json.loads((place / "artifacts/mine/metrics.json").read_text())["protocols"]) == ["general"]
    assert "My people" in (place / "artifacts/mine/report.html").read_text()
    assert run(["evaluate", "--dataset", "mine", "--params", "my-params.yaml", "--quiet"]) == 0
    assert run(["inspect", "--dataset", "mine", "--quiet"]) == 0
    assert "My people" in (place / "artifacts/mine/inspect.html").read_text()


def test_the_shards_alone_are_enough_wherever_they_are(place, tmp_path, monkeypatch, capsys):
    shards = tmp_path / "moved"
    shutil.copytree(place / "artifacts" / "mine" / "shards", shards)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    options = ("--shards", str(shards), "--params", str(place / "my-params.yaml"))
    assert run(["extract", "--frozen", *options]) == 0
    assert (tmp_path / "work/artifacts/mine/features-frozen.parquet").is_file()
    said = capsys.readouterr().err.splitlines()[-1]
    features = "artifacts/mine/features-frozen.parquet"
    assert said == f"next: ccaf-pipeline evaluate --features {features} {' '.join(options)}"
    assert run(["evaluate", "--features", features, *options]) == 0
    metrics = json.loads((tmp_path / "work/artifacts/mine/metrics-frozen.json").read_text())
    assert (metrics["dataset"], list(metrics["protocols"])) == ("mine", ["general"])
    assert run(["leakage", "--features", features, *options, "--quiet"]) == 2
    assert "where is mine? Give the folder that holds the data sets by --root" in capsys.readouterr().err
    assert run(["leakage", "--features", features, *options, "--root", str(place / "data"), "--quiet"]) == 0
    assert run(["leakage", "--features", features, *options, "--set", f"data.root={place / 'data'}", "--quiet"]) == 0


def test_a_data_set_that_is_named_must_be_that_of_the_shards(place, tmp_path, capsys):
    other = tmp_path / "params.yaml"
    other.write_text((place / "my-params.yaml").read_text() + "data: {dataset: walkers}\n")
    for named in (("--params", str(other)), ("--params", "my-params.yaml", "--dataset", "walkers")):
        words = ["--shards", "artifacts/mine/shards", *named, "--out", str(tmp_path / "f.parquet")]
        assert run(["extract", "--frozen", *words]) == 2
        assert "are of data set mine, not of walkers: set --dataset" in capsys.readouterr().err


def test_parsing_again_needs_the_description(place, capsys):
    assert run(["parse", "--dataset", "mine", "--root", "data"]) == 2
    error = capsys.readouterr().err
    assert "data set 'mine' is not known" in error
    assert "for your own give the path of a YAML file" in error
    assert read_record(place / "artifacts/mine/shards").facts["title"] == "My people"


@pytest.mark.parametrize("command", ["train", "extract", "evaluate", "report", "figures", "inspect"])
def test_a_root_is_answered_by_what_to_give_instead(place, command, capsys):
    assert run([command, "--root", "/data", "--dataset", "mine"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: --root /data: this command reads nothing there, for the shards of parse hold images"
    )
    assert error.count("\n") == 1
    assert run([command, "--help"]) == 0
    assert "--root" not in capsys.readouterr().out
