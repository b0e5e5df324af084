"""The command dlcr: strips beside a small PRCC become a data set that the other commands take; what it refuses."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from stages.cli import run

TRAIN = [f"rgb/train/{person}/{camera}_1.jpg" for person in ("001", "002", "003", "004") for camera in "ABC"]
TEST = [f"rgb/test/{camera}/{person}/1.jpg" for person in ("101", "102") for camera in "ABC"]


def draw(path: Path, seed: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (32, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), image)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a PRCC, and strips of its training pictures, one of which is missing and one is damaged."""
    top = tmp_path_factory.mktemp("dlcr")
    for number, name in enumerate([*TRAIN, "rgb/val/001/A_2.jpg", *TEST]):
        draw(top / "prcc" / name, number, 12)
    for number, name in enumerate(TRAIN[2:]):
        place = top / "strips/train" / Path(name).relative_to("rgb/train").with_suffix(".png")
        draw(place, 100 + number, 120)
        place.with_suffix(".txt").write_text("\n".join(f"coat {variant % 3}" for variant in range(10)))
    draw(top / "strips/train/001/B_1.png", 1, 121)
    return top


def command(root: Path, out: Path, *more: str) -> list[str]:
    return [
        "dlcr",
        "--dataset",
        "prcc",
        "--root",
        str(root),
        "--generated",
        str(root / "strips"),
        "--out",
        str(out),
        *more,
    ]


@pytest.fixture(scope="module")
def made(root: Path) -> Path:
    assert run(command(root, root / "prcc-dlcr", "--variants", "4", "--quiet")) == 0
    return root / "prcc-dlcr"


def test_pictures_and_variants_are_one_data_set(root: Path, made: Path, tmp_path: Path) -> None:
    with (made / "table.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 19 + 4 * 10
    variants = [row for row in rows if row["variant"]]
    assert {row["split"] for row in variants} == {"train"}
    for row in variants:
        whole = cv2.imread(str(root / "strips" / Path(row["source"]).relative_to("rgb").with_suffix(".png")))
        start = 12 * (int(row["variant"]) - 1)
        np.testing.assert_array_equal(cv2.imread(str(made / row["path"])), whole[:, start : start + 12])
        assert int(row["person_id"]) == int(Path(row["source"]).parts[-2])
    of_two = {row["clothes_id"] for row in variants if row["person_id"] == "2"}
    assert len(of_two) == 3  # three descriptions
    described = ["--dataset", str(made / "dataset.yaml"), "--root", str(root)]
    assert run(["manifest", *described, "--strict", "--out", str(tmp_path / "m.parquet")]) == 0
    assert run(["manifest", *described, "--check", "--set", "encoder.identities_per_batch=4"]) == 0
    facts = yaml.safe_load((made / "dataset.yaml").read_text())
    assert facts["protocols"] == ["prcc:sc", "prcc:cc"]
    assert "nobody wore" in facts["terms"]


def test_what_has_no_variants_is_told_and_recorded(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(root, tmp_path / "some", "--variants", "1", "--json")) == 0
    output = capsys.readouterr()
    value = json.loads(output.out)
    assert (value["generated"], value["pictures_without_variants"]) == (10, 2)
    assert "warning: 2 of 12 training pictures have no variants, such as rgb/train/001/A_1.jpg: " in output.err
    record = json.loads((tmp_path / "some/_record.json").read_text())
    assert "not that of 10 pictures" in record["without_variants"]["rgb/train/001/B_1.jpg"]
    assert "no file at" in record["without_variants"]["rgb/train/001/A_1.jpg"]


def test_equal_runs_give_equal_files_and_what_is_not_ours_stays(
    root: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "prcc-dlcr"
    assert run(command(root, out, "--variants", "2", "--quiet")) == 0
    assert run(command(root, out, "--variants", "4", "--quiet")) == 0
    ours, theirs = ({path.relative_to(top): path.read_bytes() for path in top.rglob("*.*")} for top in (out, made))
    assert ours == theirs
    (out / "mine.txt").write_text("not yours")
    capsys.readouterr()
    assert run(command(root, out, "--quiet")) == 2
    assert "mine.txt" in capsys.readouterr().err
    assert (out / "mine.txt").read_text() == "not yours"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--generated", "nowhere"], "there is no folder nowhere of strips"),
        (["--generated", "ABOVE"], "they are below"),
        (["--generated", "ELSE"], "there are no strips in"),
        (["--dataset", "market1501"], "Market-1501 not found"),
    ],
)
def test_refusals(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], said: str
) -> None:
    places = {"ABOVE": str(root), "ELSE": str(tmp_path)}
    assert run(command(root, tmp_path / "x", *(places.get(word, word) for word in changes), "--quiet")) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
