"""The command ``manifest``: the file, the table, warnings, --strict, --json, and the three ways to name the root."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.datasets.manifest import read_manifest
from stages.cli import run

TREE = ["train/1_1_c1_1.png", "train/1_2_c2_2.png", "query/5_1_c1_1.png", "test/5_1_c2_1.png", "test/5_2_c2_2.png"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small LTCC below a root, and a working folder without params.yaml."""
    for name in TREE:
        path = tmp_path / "root/LTCC_ReID" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("CCAF_DATA", raising=False)
    return tmp_path / "root"


def test_manifest_and_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["manifest", "--dataset", "ltcc", "--root", str(root), "--out", "out/ltcc.parquet"]) == 0
    table = read_manifest(Path("out/ltcc.parquet"))
    assert table["path"].to_pylist() == ["test/5_1_c2_1.png", "test/5_2_c2_2.png", *TREE[2:3], *TREE[:2]]
    assert table["clothes_id"].to_pylist() == [2, 3, 2, 0, 1]
    output = capsys.readouterr()
    lines = [line.split() for line in output.out.splitlines()]
    assert output.out.startswith(f"LTCC in {root}/LTCC_ReID\n")
    assert ["train", "1/77", "!", "2/9,576", "!", "2", "2", "-"] in lines
    assert ["gallery", "1/75", "!", "2/7,050", "!", "2", "1", "-"] in lines
    assert "warning: train: 1 identities, published are 77\n" in output.err
    assert "next: ccaf-pipeline parse --root " in output.err
    assert "--dataset ltcc\n" in output.err


def test_quiet_and_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "LTCC_ReID/train/odd.png").touch()
    (root / "LTCC_ReID/train/readme.txt").touch()
    arguments = ["manifest", "--dataset", "ltcc", "--root", str(root), "--out", "m.parquet", "--quiet", "--json"]
    assert run(arguments) == 0
    output = capsys.readouterr()
    assert output.err == ""
    value = json.loads(output.out)
    assert value["dataset"] == "ltcc"
    assert value["out"] == "m.parquet"
    assert value["counts"]["query"]["images"] == {"differs": True, "found": 1, "published": 493, "uncertain": False}
    assert len(value["differences"]) == 9
    assert (value["unmatched"], value["unmatched_names"], value["other_files"]) == (1, ["train/odd.png"], 1)
    assert value["problems"] == []


def test_names_that_do_not_match_are_listed_and_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        (root / f"LTCC_ReID/train/odd{number:02d}.png").touch()
    (root / "LTCC_ReID/train/Thumbs.db").touch()
    assert run(["manifest", "--dataset", "ltcc", "--root", str(root), "--out", "m.parquet"]) == 0
    error = capsys.readouterr().err
    assert "warning: 12 names do not follow the layout and were left out: train/odd00.png, train/odd01.png," in error
    assert "train/odd09.png, ...\n" in error
    assert "1 other files are left alone: train/Thumbs.db\n" in error


def test_strict_fails_after_the_table_and_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["manifest", "--dataset", "ltcc", "--root", str(root), "--out", "m.parquet", "--strict"]
    assert run(arguments) == 1
    output = capsys.readouterr()
    assert "1/77 !" in output.out
    assert "error: LTCC is not as published: 9 counts differ, 0 names do not follow the layout, 0 other" in output.err
    assert not Path("m.parquet").exists()
    assert run([*arguments, "--json", "--quiet"]) == 1
    assert json.loads(capsys.readouterr().out)["out"] is None


def own_facts(root: Path, **changes: object) -> str:
    tree = dict.fromkeys(("title", "home", "access", "terms", "layout"), "-") | {
        "name": "mine",
        "reader": "ltcc",
        "folder": "LTCC_ReID",
        "markers": ["train"],
        "protocols": ["cc"],
        "roles": {"train": ["train"], "query": ["query"], "gallery": ["gallery"]},
        "counts": [{"of": "train", "images": 2}, {"of": "gallery", "images": 3, "uncertain": ["images"]}],
        **changes,
    }
    path = root / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def test_strict_passes_what_is_as_published_and_forgives_unverified_numbers(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["manifest", "--dataset", own_facts(root), "--root", str(root), "--out", "m.parquet", "--strict"]
    assert run(arguments) == 0
    assert "2/3 ?" in capsys.readouterr().out
    assert read_manifest(Path("m.parquet")).num_rows == len(TREE)


@pytest.mark.parametrize("wrong", ["name", "link"])
def test_strict_fails_for_names_and_problems(root: Path, wrong: str) -> None:
    arguments = ["manifest", "--dataset", own_facts(root), "--root", str(root), "--out", "m.parquet", "--strict"]
    assert run(arguments) == 0
    if wrong == "name":
        (root / "LTCC_ReID/train/odd.png").touch()
    else:
        (root / "LTCC_ReID/train/1_1_c1_2.png").symlink_to("nowhere.png")
    assert run(arguments) == 1


def test_the_root_from_parameters_and_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["manifest", "--dataset", "ltcc", "--out", "a.parquet", "--set", f"data.root={root}"]) == 0
    Path("params.yaml").write_text(yaml.safe_dump({"data": {"dataset": "ltcc", "root": str(root)}}))
    assert run(["manifest", "--out", "b.parquet"]) == 0
    Path("params.yaml").unlink()
    monkeypatch.setenv("CCAF_DATA", str(root))
    assert run(["manifest", "--dataset", "ltcc", "--out", "c.parquet"]) == 0
    assert Path("a.parquet").read_bytes() == Path("b.parquet").read_bytes() == Path("c.parquet").read_bytes()


def test_a_root_that_looks_like_yaml_stays_a_text(root: Path) -> None:
    for name in ("2024", "a: b", "[x", "ümlaut #1"):
        (root.parent / "work" / name).symlink_to(root)
        assert run(["manifest", "--dataset", "ltcc", "--root", name, "--out", "m.parquet", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "ltcc"], "by data.root in params.yaml, or by the environment variable CCAF_DATA"),
        (["--dataset", "ltcc", "--root", "nowhere"], "LTCC not found: there is no folder nowhere/ltcc"),
        (["--dataset", "nothing", "--root", "."], "data set 'nothing' is not known"),
    ],
)
def test_wrong_input_exits_with_2_and_one_message(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(["manifest", "--out", "m.parquet", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert "Traceback" not in error


def test_texts_that_became_numbers_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "1.jpg").touch()
    (tmp_path / "t.csv").write_text("path,split,person_id\n1.jpg,train,Ann\n")
    settings = {"table": "t.csv", "labels": "text"}
    facts = own_facts(tmp_path, reader="custom", folder=".", markers=["t.csv"], settings=settings, counts=[])
    arguments = ["manifest", "--dataset", facts, "--root", str(tmp_path), "--out", str(tmp_path / "m.parquet")]
    assert run(arguments) == 0
    assert "person_id: 1 texts were numbered from 0 in sorted order: Ann\n" in capsys.readouterr().err


def test_parse_takes_so_many_frames_of_a_tracklet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, tracklet in (("train", "session1/001_01"), ("query", "session1/002_01"), ("gallery", "session2/002_01")):
        (tmp_path / f"ccvid/{tracklet}").mkdir(parents=True)
        for frame in range(9):
            (tmp_path / f"ccvid/{tracklet}/{frame:05d}.jpg").touch()
        (tmp_path / f"ccvid/{split}.txt").write_text(f"{tracklet} {tracklet[9:12]} u0\n")
    out = str(tmp_path / "m.parquet")
    arguments = [
        "--dataset",
        "ccvid",
        "--root",
        str(tmp_path),
        "--set",
        "data.frames_per_tracklet=4",
        "--json",
        "--quiet",
    ]
    assert run(["manifest", "--out", out, *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["all"]["images"]["found"] == 27  # the manifest has all frames
    for given in ([], ["--manifest", out]):
        assert run(["parse", "--plan", *given, *arguments]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 12


def test_real_images_are_as_published(real_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.parquet"
    arguments = ["manifest", "--dataset", "pku_reid_74", "--root", str(real_images), "--out", str(out), "--strict"]
    assert run(arguments) == 0
    assert "!" not in capsys.readouterr().out.rpartition("found/published")[0]
    assert read_manifest(out).num_rows == 1184
