"""One meaning of ``~`` in every path that a user gives."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import load_parameters
from pipeline.datasets.catalog import dataset_folder, load_facts
from pipeline.images import encode_image
from pipeline.location import expand_home, locate

REPOSITORY = Path(__file__).resolve().parent.parent
FACTS = {
    **dict.fromkeys(("title", "home", "access", "terms", "layout"), "-"),
    "name": "mine", "reader": "custom", "markers": ["t.csv"], "protocols": ["general"],
    "roles": {"train": ["train"], "query": ["query"], "gallery": ["gallery"]}, "settings": {"table": "t.csv"},
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    (folder / "sets" / "mine").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_the_home_folder_is_written_out_as_a_shell_does(home: Path) -> None:
    assert expand_home("~/a b") == f"{home}/a b"
    assert expand_home("~") == str(home)
    assert expand_home(Path("~/x")) == home / "x"
    assert expand_home("~root/x") == "/root/x"
    assert expand_home({"a": ["~/x", 3, None], "b": "x~/y"}) == {"a": [f"{home}/x", 3, None], "b": "x~/y"}
    for kept in ("~nobody-has-this-name/x", "./~/x", "~ about 5", "", "s3://bucket/~/x", "file~"):
        assert expand_home(kept) == kept
    assert locate("~/shards").uri == locate(Path("~/shards")).uri == f"{home}/shards"


def test_parameters_files_and_variables_mean_the_same(home: Path, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "data: {root: ~/sets, dataset: ~/mine.yaml}\nmodel: {pretrained: ~/w.pt}\n"
        "parse: {parser: precomputed, settings: {root: ~/maps, scheme: ~/s.yaml}}\n"
    )
    parameters = load_parameters(tmp_path / "p.yaml")
    assert (parameters.data.root, parameters.data.dataset) == (f"{home}/sets", f"{home}/mine.yaml")
    assert parameters.model.pretrained == f"{home}/w.pt"
    assert parameters.parse.settings == {"root": f"{home}/maps", "scheme": f"{home}/s.yaml"}
    assert load_parameters(None, ["model.pretrained=~/w.pt"]).model.pretrained == f"{home}/w.pt"
    (home / "mine.yaml").write_text(json.dumps({**FACTS, "settings": {"table": "~/t.csv"}}))
    facts = load_facts("~/mine.yaml")
    assert facts.settings["table"] == f"{home}/t.csv"
    for root, environment in (("~/sets", {}), (None, {"CCAF_DATA": "~/sets"})):
        assert dataset_folder(facts, root, environment) == home / "sets" / "mine"


def test_options_mean_it_too_and_no_folder_is_called_tilde(home: Path, tmp_path: Path) -> None:
    for number in range(3):
        (home / "sets" / "mine" / f"{number}.png").write_bytes(encode_image(np.zeros((4, 2, 3), np.uint8)))
    rows = "".join(f"{number}.png,{split},{number}\n" for number, split in enumerate(("train", "query", "gallery")))
    (home / "sets" / "mine" / "t.csv").write_text("path,split,person_id\n" + rows)
    (home / "mine.yaml").write_text(json.dumps(FACTS))
    here = tmp_path / "here"
    here.mkdir()
    command = [
        sys.executable,
        "-m",
        "stages",
        "manifest",
        "--dataset=~/mine.yaml",
        "--root=~/sets",
        "--out=~/m.parquet",
    ]
    subprocess.run(command, cwd=here, env={"HOME": str(home), "PYTHONPATH": str(REPOSITORY)}, check=True)
    assert (home / "m.parquet").is_file()
    assert list(here.iterdir()) == []
