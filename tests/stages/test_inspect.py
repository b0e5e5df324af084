"""The command inspect: where the page goes, what it says, what it refuses."""

import json
from dataclasses import replace

import pytest

from pipeline.datasets.manifest import ManifestRow
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.reader import ShardReader
from stages.cli import run


def test_the_page_of_named_shards_lies_beside_them(figures, tmp_path, capsys):
    shards = tmp_path / "shards"
    shards.symlink_to(figures.shards)
    assert run(["inspect", str(shards), "--images", "3", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["out"] == str(tmp_path / "inspect.html")
    assert (len(value["worst"]), len(value["random"])) == (3, 3)
    assert (value["images"], value["quarantine"], value["parser"]) == (56, {"missing": 1}, "truth")
    assert value["splits"]["train"]["images"] == 32
    assert set(value["cameras"]) == {"1", "2"}
    page = (tmp_path / "inspect.html").read_text()
    assert len(page.encode()) == value["bytes"]
    assert not (tmp_path / ".cache").exists(), "no copy of the shards is made"


def test_the_default_place_and_shards_are_those_of_the_data_set(figures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifacts" / "figures").mkdir(parents=True)
    (tmp_path / "artifacts" / "figures" / "shards").symlink_to(figures.shards)
    assert run(["inspect", "--dataset", str(figures.facts), "--images", "1"]) == 0
    said = capsys.readouterr()
    assert (tmp_path / "artifacts" / "figures" / "inspect.html").is_file()
    assert "56 images, 0 flagged (none)" in said.out
    assert "open it in a browser" in said.err


def test_filters_and_seeds_reach_the_page(figures, tmp_path, capsys):
    def shown(*more):
        assert (
            run(["inspect", str(figures.shards), "--out", str(tmp_path / "a.html"), "--images", "4", "--json", *more])
            == 0
        )
        return json.loads(capsys.readouterr().out)

    query = shown("--split", "query", "--camera", "2")
    assert query["selection"] == "split query, camera 2"
    assert query["random"]
    assert all(name.startswith("query/") and "_c2_" in name for name in query["random"])
    assert shown("--seed", "1")["random"] != shown("--seed", "2")["random"]


def test_what_cannot_be_shown_is_one_line(figures, tmp_path, capsys):
    for arguments, message in (
        ([str(tmp_path / "none")], "no finished shards"),
        ([str(figures.shards), "--split", "nowhere"], "has split nowhere; there are: gallery, query, train"),
        ([str(figures.shards), "--flag", "no_person"], "has flag no_person"),
        ([str(figures.shards), "--out", str(tmp_path)], "it is a folder"),
        ([str(figures.shards), "--dataset", "prcc"], "give either"),
    ):
        assert run(["inspect", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert message in error


def test_the_page_reads_whole_at_the_widths_of_screens(figures, tmp_path, cut_parts):
    page = tmp_path / "inspect.html"
    assert run(["inspect", str(figures.shards), "--out", str(page), "--images", "3", "--quiet"]) == 0
    for width in (1000, 1600):
        assert cut_parts(page, width) == []


@pytest.fixture(scope="module")
def parsed_again(figures, tmp_path_factory):
    """The same images by a parser that takes the face for clothes, too."""
    reader = ShardReader(figures.shards, copy=False)
    rows = []
    for index, (path, split) in enumerate(zip(reader.ids.path, reader.ids.split, strict=True)):
        labels, ids = reader.label_map(index), reader.ids
        labels[labels == 13] = 5
        row = ManifestRow(path, split, int(ids.person_id[index]), int(ids.camera_id[index]), int(ids.clothes_id[index]))
        mask = clothes_mask(labels, LIP.clothes)
        made = make_row(row, reader.image(index), labels, mask, Quality(0.4, float(mask.mean()), 0.9, ()))
        rows.append(replace(made, image=reader.encoded(index)))
    folder = tmp_path_factory.mktemp("again") / "shards"
    write_rows(folder, "figures", rows, [], parser="faceless", row_group_rows=16)
    return folder


def test_two_folders_are_compared(figures, parsed_again, tmp_path, capsys, cut_parts):
    page = tmp_path / "two.html"
    words = ["inspect", str(figures.shards), str(parsed_again), "--out", str(page), "--images", "3"]
    assert run([*words, "--json", "--split", "query"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["first"]["parser"], value["second"]["parser"]) == ("truth", "faceless")
    assert value["images"] == 12
    face = 14 * 10  # pixels
    reader, other = ShardReader(figures.shards, copy=False), ShardReader(parsed_again, copy=False)
    rows = reader.select("query")
    inside = sum(int(reader.mask(row).sum()) for row in rows)
    assert value["clothes_iou"] == pytest.approx(inside / sum(int(other.mask(row).sum()) for row in rows), abs=1e-4)
    assert value["clothes_differ"] == pytest.approx(face / (64 * 32), abs=1e-4)
    assert value["confusions"] == [
        {"first": "face", "second": "upper-clothes", "share": pytest.approx(face / (64 * 32), abs=1e-4)}
    ]
    assert len(value["worst"]) == len(value["random"]) == 3
    assert value["bytes"] == page.stat().st_size
    for width in (1000, 1600):
        assert cut_parts(page, width) == []
    assert run([*words, "--quiet"]) == 0, "its own page is written over"
    assert "clothes mask" in capsys.readouterr().out


def test_what_cannot_be_compared_is_one_line(figures, plain_figures, parsed_again, tmp_path, capsys):
    first, again = str(figures.shards), str(parsed_again)
    for arguments, message in (
        ([first, str(plain_figures.shards)], "of the data sets figures and figures-plain"),
        ([first, str(tmp_path)], "no finished shards"),
        ([first, again, "--redress", "3"], "--redress goes with one"),
        ([first, again, "--dataset", "prcc"], "without --shards and --dataset"),
        ([first, again, "--out", str(figures.facts)], "is not what this command writes"),
    ):
        assert run(["inspect", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert message in error
