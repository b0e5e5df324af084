"""The command redress: a data set from shards, that the other commands take; what it refuses; the sheet of inspect."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.images import decode_image
from pipeline.shards.reader import ShardReader
from stages.cli import run


def shards_of(figures) -> list[str]:
    return ["--shards", str(figures.shards), "--dataset", str(figures.facts)]


@pytest.fixture(scope="module")
def made(figures, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("redress") / "people"
    assert run(["redress", *shards_of(figures), "--out", str(out), "--seed", "4", "--quiet"]) == 0
    return out


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_persons_cameras_and_splits_are_as_they_were(figures, made):
    ids = ShardReader(figures.shards).ids
    wanted = zip(ids.image_id, ids.split, ids.person_id.astype(str), ids.camera_id.astype(str), strict=True)
    rows = _rows(made)
    assert sorted((row["source"], row["split"], row["person_id"], row["camera_id"]) for row in rows) == sorted(wanted)
    assert {row["outfit"] for row in rows} > {"-1"}
    for row in rows:
        assert (made / row["path"]).is_file()


def test_an_image_in_own_clothes_is_itself_and_others_differ_in_their_clothes_only(figures, made):
    reader = ShardReader(figures.shards)
    place = {name: row for row, name in enumerate(reader.ids.image_id)}
    redressed = 0
    for row in _rows(made):
        index = place[row["source"]]
        image, found = reader.image(index).astype(int), decode_image((made / row["path"]).read_bytes()).astype(int)
        difference = np.abs(image - found).mean(axis=2)
        far = np.ones(difference.shape, dtype=bool)
        far[2:62, 6:26] = False  # beyond the blocks of JPEG that clothes touch at the edge
        assert difference[far].mean() < 20
        inside = np.median(difference[reader.mask(index)])
        if row["outfit"] == "-1":
            assert inside < 6
        redressed += row["outfit"] != "-1" and inside > 15
    assert redressed > 20


@pytest.mark.parametrize("options", [[], ["--all"]])
def test_images_of_nobody_are_no_person_in_outfits(figures, tmp_path, capsys, options):
    facts = yaml.safe_load(figures.facts.read_text()) | {"no_person_ids": [-1, 7]}
    described = tmp_path / "figures.yaml"
    described.write_text(yaml.safe_dump(facts))
    command = ["redress", "--shards", str(figures.shards), "--dataset", str(described), "--images", "50", *options]
    assert run([*command, "--out", str(tmp_path / "people"), "--json", "--quiet"]) == 0
    value = json.loads(capsys.readouterr().out)
    rows = _rows(tmp_path / "people")
    nobody = [row for row in rows if row["person_id"] == "7"]
    assert len(nobody) == 8  # every image once: two outfits, cameras and takes
    assert {row["outfit"] for row in nobody} == {"-1"}
    assert {row["outfit"] for row in rows if row["person_id"] == "6"} > {"-1"}
    assert value["identities"] == 6
    assert value["clothes"] == len({row["clothes_id"] for row in rows if row["person_id"] != "7"})
    assert (tmp_path / "people/sheet.html").read_text().count('alt="its label map"') == 6
    made = ["--dataset", str(tmp_path / "people/dataset.yaml"), "--root", str(tmp_path)]
    assert run(["manifest", *made, "--strict", "--out", str(tmp_path / "manifest.parquet")]) == 0
    described.write_text(yaml.safe_dump(facts | {"no_person_ids": list(range(1, 8))}))
    assert run([*command, "--out", str(tmp_path / "none"), "--quiet"]) == 2
    assert "all have ids that stand for nobody" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["folder", "above"])
def test_the_manifest_is_strictly_right_and_all_protocols_can_be_scored(made, tmp_path, root, capsys):
    given = ["--dataset", str(made / "dataset.yaml"), "--root", str(made if root == "folder" else made.parent)]
    assert run(["manifest", *given, "--strict", "--out", str(tmp_path / "manifest.parquet")]) == 0
    assert run(["manifest", *given, "--check", "--set", "encoder.identities_per_batch=4"]) == 0
    facts = yaml.safe_load((made / "dataset.yaml").read_text())
    assert facts["protocols"] == ["cc", "sc", "general"]
    assert "changed by software" in facts["terms"]
    assert "protocol" not in capsys.readouterr().err


def test_the_record_says_what_made_it(figures, made):
    record = json.loads((made / "_record.json").read_text())
    assert "changed by software" in record["notice"]
    assert record["shards_sha256"] == ShardReader(figures.shards).record_sha256
    assert record["parameters"]["seed"] == 4
    assert record["counts"]["images"] == len(_rows(made))
    page = (made / "sheet.html").read_text()
    assert "changed by software" in page
    assert page.count('alt="its label map"') == 7


def test_equal_runs_give_equal_files_and_an_earlier_one_is_replaced(figures, made, tmp_path, capsys):
    out = tmp_path / "people"
    command = ["redress", *shards_of(figures), "--out", str(out), "--quiet"]
    assert run([*command, "--seed", "5"]) == 0
    assert run([*command, "--seed", "4"]) == 0
    ours, theirs = ({path.relative_to(top): path.read_bytes() for path in top.rglob("*.*")} for top in (out, made))
    assert ours == theirs
    (out / "mine.txt").write_text("not yours")
    capsys.readouterr()
    assert run(command) == 2
    assert "mine.txt" in capsys.readouterr().err


def test_all_wears_each_image_in_each_outfit(figures, tmp_path):
    out = tmp_path / "all"
    options = ["--all", "--outfits", "2", "--pool", "3", "--style", "colour", "--garment", "upper"]
    assert run(["redress", *shards_of(figures), "--out", str(out), *options, "--quiet"]) == 0
    rows = _rows(out)
    assert len(rows) == 2 * len(ShardReader(figures.shards).ids.image_id)
    assert sum(row["outfit"] == "-1" for row in rows) == len(rows) // 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--outfits", "4", "--pool", "2"], "--pool 3 at least"),
        (["--style", "feathers"], "--style feathers"),
        (["--garment", "hat"], None),
        (["--shards", "nowhere"], "nowhere"),
    ],
)
def test_refusals(figures, tmp_path, capsys, options, reason):
    code = run(["redress", *shards_of(figures), "--out", str(tmp_path / "x"), "--quiet", *options])
    said = capsys.readouterr().err
    if reason is None:  # nobody wears a hat here: all keep their clothes, which is said in the counts
        assert code == 0
        assert {row["outfit"] for row in _rows(tmp_path / "x")} == {"-1"}
        return
    assert code == 2
    assert reason in said
    assert not (tmp_path / "x").exists()


def test_the_pages_read_whole_at_the_widths_of_screens(figures, made, tmp_path, cut_parts):
    page = tmp_path / "inspect.html"
    command = ["inspect", str(figures.shards), "--out", str(page), "--images", "1", "--redress", "3", "--quiet"]
    assert run(command) == 0
    for width in (1000, 1600):
        assert cut_parts(page, width) == []
    assert cut_parts(made / "sheet.html", 1000) == []


def test_inspect_shows_people_in_other_clothes(figures, tmp_path, capsys):
    out = tmp_path / "page.html"
    command = ["inspect", str(figures.shards), "--out", str(out), "--images", "1", "--json"]
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["redressed"] == []
    plain = out.read_text()
    assert run([*command, "--redress", "3"]) == 0
    value = json.loads(capsys.readouterr().out)
    page = out.read_text()
    assert len(value["redressed"]) == 3
    assert page.count("the same in other clothes") == 12
    assert "In other clothes" not in plain
    assert page.replace(" ", "").find('src="http') == -1


def test_the_next_command_that_it_prints_runs(figures, tmp_path, capsys):
    out = tmp_path / "a folder" / "people"
    few = ["--set", "encoder.identities_per_batch=2", "--set", "encoder.images_per_identity=2"]
    assert run(["redress", *shards_of(figures), "--out", str(out)]) == 0
    line = capsys.readouterr().err.splitlines()[-1]
    program, *words = shlex.split(line.removeprefix("next: "))
    assert (program, words[0]) == ("ccaf-pipeline", "manifest")
    assert run([*words, *few]) == 0
    assert "training and evaluation can begin" in capsys.readouterr().out


def test_the_root_is_no_place_for_a_data_set(figures, capsys):
    assert run(["redress", *shards_of(figures), "--out", "/"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_clothes_that_were_changed_twice_are_noticed_once(figures, made, tmp_path):
    shards, again = tmp_path / "shards", tmp_path / "again"
    facts = ["--dataset", str(made / "dataset.yaml")]
    assert run(["parse", *facts, "--root", str(made), "--out", str(shards), "--quiet"]) == 0
    assert run(["redress", *facts, "--shards", str(shards), "--out", str(again), "--quiet"]) == 0
    once, twice = (yaml.safe_load((folder / "dataset.yaml").read_text())["terms"] for folder in (made, again))
    assert twice == once
    assert once.count("Clothes were changed by software") == 1
    assert ". Clothes were" in once
