"""The figures command on trained tiny data sets: page, numbers, files, what is absent, refusals, equal bytes."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.config import load_parameters
from pipeline.datasets.catalog import load_facts
from pipeline.evaluation.protocols import find_protocols
from pipeline.features.encoders import frozen_encoder
from pipeline.features.feature_set import read_features
from pipeline.features.rows import feature_rows
from pipeline.files import sha256_of_file
from pipeline.models.checkpoint import read_checkpoint, save_checkpoint
from pipeline.models.clip import clip_state, load_clip
from pipeline.reporting.figures.page import FIGURES
from pipeline.reporting.figures.subjects import stored_features
from pipeline.reporting.ranked import rank_queries
from pipeline.shards.reader import ShardReader
from stages.cli import run

FAST = (
    "--set",
    "figures.map_images=1",
    "--set",
    "figures.ranked_queries=2",
    "--set",
    "figures.perplexity=5",
    "--quiet",
)


@pytest.fixture(scope="module")
def made(figures, tmp_path_factory):
    """A working folder with two prompts and two encoder checkpoints, features, and the figures of both."""
    folder = tmp_path_factory.mktemp("figures-command")
    shutil.copytree(figures.shards, folder / "artifacts" / "figures" / "shards")
    params = ("--params", str(figures.params), "--quiet")
    raw = ("--set", "encoder.method=clip-reid", "--prompts", "raw-prompts", *params)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["train", *params]) == 0
        assert run(["train", *raw, "--out", "raw<b>$"]) == 0
        assert run(["extract", *params]) == 0
        assert run(["figures", "--against", "raw<b>$", "--against-prompts", "raw-prompts", *params[:2], *FAST]) == 0
    return folder


@pytest.fixture
def place(made, monkeypatch):
    monkeypatch.chdir(made)
    return made / "artifacts" / "figures"


@pytest.fixture
def numbers(place):
    return json.loads((place / "figures" / "figures.json").read_text())


class Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def parse(page: Path) -> Parser:
    parser = Parser()
    parser.feed(page.read_text())
    parser.close()
    assert parser.open == []
    return parser


def test_every_figure_is_on_one_whole_page_that_loads_nothing(place):
    parser = parse(place / "figures" / "figures.html")
    assert all(title in parser.text for title in FIGURES.values())
    assert all(value.startswith(("data:image/", "#")) for value in parser.loaded)
    assert "raw<b>$ (clip-reid)" in parser.text  # escaped, whatever a folder is called
    assert "To make it" not in parser.text


def test_every_picture_is_a_file_and_every_svg_well_formed(place):
    files = sorted(file.name for file in (place / "figures").iterdir())
    subjects = ("identity-shielding", "identity-clothes", "clothes-clothes")
    expected = [f"prompt-distances-{number}-{subject}.svg" for number in (1, 2) for subject in subjects]
    expected += [f"{name}-{number}.svg" for name in ("feature-distances", "tsne") for number in (1, 2)]
    assert files == sorted([*expected, "figures.html", "figures.json", "ranked.png", "maps.png"])
    for name in expected:
        root = ET.parse(place / "figures" / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not re.search("#0[1-6]0[1-6]0[1-6]", (place / "figures" / name).read_text())


def test_the_numbers_say_what_they_are_of(numbers, place):
    encoder = json.loads((place / "encoder" / "config.json").read_text())
    assert numbers["checkpoints"][0] == {
        "name": "encoder (ccaf)", "sha256": encoder["weights_sha256"], "method": "ccaf",
    }  # fmt: skip
    assert list(numbers["figures"]) == sorted(FIGURES)
    maps = numbers["figures"]["maps"]
    assert maps["queries"] == 12  # queries in the cloth-changing protocol that have a right item: all
    one, other = maps["checkpoints"].values()
    for kind, difference in maps["differences"].items():
        expected = one[kind]["mass"]["clothes"] - other[kind]["mass"]["clothes"]
        assert difference["mean"] == pytest.approx(expected)
    for of_kind in (one, other):
        assert sorted(of_kind) == ["attention", "grad-cam", "gradient", "rollout"]
        for share in of_kind.values():
            assert sum(share["mass"].values()) == pytest.approx(1)
            assert share["interval"][0] <= share["mass"]["clothes"] <= share["interval"][1]
            assert share["area"]["clothes"] == pytest.approx(56 * 16 / (64 * 32) - 14 * 10 / (64 * 32), abs=0.01)


def test_ranked_lists_are_those_of_the_protocol(numbers, place):
    features, _ = read_features(place / "features.parquet")
    (protocol,) = find_protocols("cc")
    results = {result.image_id: result for result in rank_queries(features, protocol, 5)}
    ranked = numbers["figures"]["ranked"]
    assert ranked["protocol"] == "cc"
    assert len(ranked["shown"]) == 2
    for shown in ranked["shown"]:
        found = shown["lists"]["encoder (ccaf)"]
        expected = results[shown["query"]]
        assert [(item["image_id"], item["right"]) for item in found["gallery"]] == list(expected.head)
        assert found["average_precision"] == pytest.approx(expected.average_precision)
    mean = np.mean([result.average_precision for result in results.values()])
    assert ranked["mAP"]["encoder (ccaf)"] == pytest.approx(100 * mean)


def test_features_of_extract_are_used_and_give_what_encoding_gives(place, figures, numbers):
    (place / "features.parquet").rename(place / "aside.parquet")
    try:
        again = ("--figure", "feature-distances", "--against", "none", "--out", "again")
        assert run(["figures", *again, "--params", str(figures.params), *FAST]) == 0
    finally:
        (place / "aside.parquet").rename(place / "features.parquet")
    found = json.loads(Path("again/figures.json").read_text())["figures"]
    assert list(found) == ["feature-distances"]
    one = numbers["figures"]["feature-distances"]["encoder (ccaf)"]["distances"]["different"]
    other = found["feature-distances"]["encoder (ccaf)"]["distances"]["different"]
    assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "used"),
    [
        ((), True),
        (("evaluate.batch_size=3",), True),
        (("evaluate.flip=true",), False),
        (("evaluate.feature=projected",), False),
        (("model.pixel_mean=[0.1,0.5,0.9]",), False),
        (("model.image_size=[32,32]",), False),
    ],
)
def test_features_of_extract_are_used_only_where_they_are_what_would_be_made(figures, tmp_path, change, used):
    """The weights have the same hash in all cases."""
    reader = ShardReader(figures.shards)
    facts = load_facts(str(figures.facts))
    weights = tmp_path / "clip.safetensors"
    given = [f"model.pretrained={weights}"]
    save_file(clip_state(load_clip(load_parameters(figures.params).model, seed=3)), weights)
    kept = tmp_path / "frozen.parquet"
    options = ["--params", str(figures.params), "--set", given[0], "--shards", str(figures.shards), "--quiet"]
    assert run(["extract", "--frozen", *options, "--out", str(kept)]) == 0
    parameters = load_parameters(figures.params, [*given, *change])
    chosen = frozen_encoder(parameters.model, parameters.seed)
    assert chosen.sha256 == sha256_of_file(weights)
    found = stored_features(kept, chosen, reader, feature_rows(reader, facts), parameters.evaluate)
    assert (found is not None) == used


def test_equal_runs_give_equal_bytes_and_replace_each_other(place, figures):
    asked = ["figures", "--figure", "tsne", "--figure", "ranked", "--against", "frozen", "--out", "equal"]
    contents = []
    for _ in range(2):
        assert run([*asked, "--params", str(figures.params), *FAST]) == 0
        contents.append({file.name: file.read_bytes() for file in Path("equal").iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == ["figures.html", "figures.json", "ranked.png", "tsne-1.svg", "tsne-2.svg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figure", "fig9"], "--figure fig9: there is no such figure; there are: prompt-distances"),
        (["--checkpoint", "frozen"], "--checkpoint and --against are both frozen"),
        (["--checkpoint", "raw-prompts"], "raw-prompts is no encoder checkpoint: run `"),
        (["--prompts", "nothing"], "no prompts checkpoint at nothing"),
        (["--identity", "99", "--figure", "tsne"], "--identity 99: no query or gallery image shows this person"),
        (["--out", "raw-prompts"], "raw-prompts is there and holds no figures that could be replaced"),
        (["--set", "seed=3", "--prompts", "raw-prompts", "--set", "model.image_size=[32,32]"], "with another CLIP"),
        (["--set", "figures.maps=[heat]"], "figures.maps"),
    ],
)
def test_wrong_input_is_one_line(place, figures, capsys, arguments, message):
    assert run(["figures", *arguments, "--params", str(figures.params), "--out", "wrong", *FAST] if "--out" not in
               arguments else ["figures", *arguments, "--params", str(figures.params), *FAST]) == 2  # fmt: skip
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("wrong").exists()
    assert (Path("raw-prompts") / "weights.safetensors").is_file()


def test_an_encoder_that_gives_no_numbers_is_refused(place, figures, tmp_path, capsys):
    good = read_checkpoint(place / "encoder", "encoder", "train")
    broken = {name: torch.full_like(value, torch.nan) for name, value in good.tensors.items() if "ln_post" in name}
    save_checkpoint(tmp_path / "broken", "encoder", {**good.tensors, **broken}, good.config)
    asked = ["--checkpoint", str(tmp_path / "broken"), "--against", "none", "--out", "wrong"]
    assert run(["figures", *asked, "--params", str(figures.params), *FAST]) == 1
    assert "broken gives features that are not finite" in capsys.readouterr().err
    assert not Path("wrong").exists()


def test_without_clothes_ids_prompts_and_training_there_are_still_figures(plain_figures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--shards", str(plain_figures.shards), "--params", str(plain_figures.params), "--identity", "5"]
    alone = ["--checkpoint", "frozen", "--against", "none", "--identity", "6", "--json", *FAST]
    assert run(["figures", *options, *alone, "--set", "figures.map_images=0"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert sorted(summary["absent"]) == ["prompt-distances"]
    page = Path(summary["page"])
    assert page == Path("artifacts/figures-plain/figures/figures.html")
    text = parse(page).text
    assert "There is no prompts checkpoint at artifacts/figures-plain/prompts. To make it:ccaf-pipeline train" in text
    found = json.loads((page.parent / "figures.json").read_text())["figures"]
    assert sorted(found["feature-distances"]["frozen"]["distances"]) == ["different", "same_person"]
    assert set(found["tsne"]["person_id"]) == {5, 6}
    assert found["maps"]["differences"] == {}
    assert not (page.parent / "maps.png").exists()
    assert found["ranked"]["better"] == found["ranked"]["worse"] == 0


def test_the_page_reads_whole_at_the_widths_of_screens(place, cut_parts):
    for width in (1000, 1300, 1600):
        assert cut_parts(place / "figures" / "figures.html", width) == []


def test_both_lists_of_a_query_share_the_space_beside_it(place):
    """The query has a column of its own; a list that finds no room goes below the other list, not below the query."""
    page = (place / "figures" / "figures.html").read_text()
    shown = re.findall(
        r'<div class="query-and-lists">\s*<div class="hit query">.*?</div>\s*<div class="lists">', page, re.S
    )
    assert len(shown) == page.count('<div class="query-and-lists">') > 0
    assert page.count('<div class="lists">') == len(shown)
    assert re.search(r"\.query-and-lists \{[^}]*grid-template-columns: 96px minmax\(0, 1fr\)", page)
