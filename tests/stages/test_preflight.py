"""What training and evaluation will be refused for is told before anything is parsed or trained."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.datasets.catalog import load_facts
from pipeline.datasets.manifest import ManifestRow
from pipeline.labels import LabelScheme
from pipeline.parsing.quality import Quality
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.reader import ShardReader
from pipeline.training.preflight import labels_of_shards
from stages.cli import run


@dataclass(frozen=True)
class Made:
    """A data set of a table: its description, and where it lies."""

    facts: Path
    root: Path

    def manifest(self, *more: str) -> int:
        """Run the command with a small batch."""
        small = ("--set", "encoder.identities_per_batch=2", "--set", "encoder.images_per_identity=2")
        return run(["manifest", "--dataset", str(self.facts), "--root", str(self.root), *small, *more])


def make(folder: Path, protocols=("general",), query_folder="gallery", roles=("train", "query", "gallery"), **change):
    """Three people to train and three to test, two cameras each; the queries stand in the gallery as well."""
    lines = []
    for person in range(1, 7):
        for camera in (1, 2):
            split = "train" if person < 4 else "gallery"
            names = [f"{split}/{person}_c{camera}_{take}.png" for take in (1, 2)]
            lines += [(name, split, person, camera) for name in names]
            if split == "gallery" and camera == 1:
                lines.append((names[0].replace("gallery", query_folder), "query", person, camera))
    lines = [line for line in lines if line[1] in roles]
    for name, *_ in lines:
        path = folder / "people" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"picture {Path(name).name}".encode())
    table = "path,split,person_id,camera_id\n" + "".join(",".join(map(str, line)) + "\n" for line in lines)
    (folder / "people" / "people.csv").write_text(table)
    facts = dict.fromkeys(("title", "home", "access", "terms", "layout"), "-") | {
        "name": "people",
        "reader": "custom",
        "markers": ["people.csv"],
        "roles": {role: [role] for role in roles},
        "protocols": list(protocols),
        "settings": {"table": "people.csv"},
        **change,
    }
    (folder / "people.yaml").write_text(yaml.safe_dump(facts))
    return Made(folder / "people.yaml", folder)


@pytest.mark.parametrize("query_folder", ["gallery", "query"])  # one path in two splits, or a copy of the file
@pytest.mark.parametrize(("protocol", "refused"), [("general", False), ("last", True), ("celeb", True)])
def test_copies_of_queries_come_up_at_the_manifest(tmp_path, capsys, protocol, refused, query_folder):
    made = make(tmp_path, [protocol], query_folder)
    assert made.manifest("--out", str(tmp_path / "m.parquet"), "--json") == 0
    captured = capsys.readouterr()
    said = f"protocol {protocol}: 3 images are both query and gallery"
    assert (said in captured.err) == refused
    assert len(json.loads(captured.out)["obstacles"]["evaluation"]) == refused
    assert made.manifest("--check") == (2 if refused else 0)
    assert (f"error: {said}" in capsys.readouterr().err) == refused


def test_files_of_one_name_and_other_content_are_no_copies(tmp_path):
    made = make(tmp_path, ["last"], "query")
    for path in (tmp_path / "people" / "query").iterdir():
        path.write_bytes(b"another picture")
    assert made.manifest("--check") == 0


@pytest.mark.parametrize(("setting", "message"), [
    ("encoder.identities_per_batch=4", "encoder.identities_per_batch = 4, but the training images have 3 identities"),
    ("prompts.clothes_classes=labels", "prompts.clothes_classes is labels, but the data set has no clothes_id"),
    ("evaluate.protocols=[cc]", "protocol cc needs clothes ids, but 3 query rows have none"),
    ("evaluate.protocols=[general, none]", "unknown protocol 'none'"),
])  # fmt: skip
def test_what_is_lacking_is_an_error_of_the_check_and_a_warning_of_the_manifest(tmp_path, capsys, setting, message):
    made = make(tmp_path)
    assert made.manifest("--check", "--set", setting) == 2
    captured = capsys.readouterr()
    assert f"error: {message}" in captured.err
    assert len([line for line in captured.err.splitlines() if line.startswith("error")]) == 1
    assert captured.err.count(message) == 1
    assert made.manifest("--set", setting, "--out", str(tmp_path / "m.parquet")) == 0
    assert message in capsys.readouterr().err
    assert (tmp_path / "m.parquet").is_file()


@pytest.mark.parametrize(("clothes", "refused"), [("none", True), ("cluster", False)])
def test_outfits_may_be_those_that_stage_one_finds(tmp_path, capsys, clothes, refused):
    words = ("--set", "encoder.spread=outfits", "--set", f"prompts.clothes_classes={clothes}")
    assert make(tmp_path).manifest("--check", *words) == (2 if refused else 0)
    assert ("encoder.spread = outfits, but no training image has known outfits" in capsys.readouterr().err) == refused


@pytest.mark.parametrize(("settings", "message"), [
    (["training.evaluate_split=val"], "training.evaluate_split is val, but the data set has no validation images"),
    (["training.evaluate_protocol=cc"], "training.evaluate_every: protocol cc needs clothes ids"),
    ([], None),
])  # fmt: skip
def test_checks_between_epochs_are_part_of_it(tmp_path, capsys, settings, message):
    changes = [word for setting in ["training.evaluate_every=1", *settings] for word in ("--set", setting)]
    assert make(tmp_path).manifest("--check", *changes) == (0 if message is None else 2)
    assert (message or "training and evaluation can begin") in "".join(capsys.readouterr())


def test_other_protocols_of_the_data_set_are_left_out_with_a_remark(tmp_path, capsys):
    assert make(tmp_path, ["general", "cc"]).manifest("--check") == 0
    assert "warning: protocol cc needs clothes ids, but 3 query rows have none; left out" in capsys.readouterr().err


def test_a_data_set_for_one_purpose_is_asked_about_that_alone(tmp_path, capsys):
    (tmp_path / "test").mkdir()
    assert make(tmp_path / "test", roles=("query", "gallery")).manifest("--check") == 0
    assert "warning" not in capsys.readouterr().err
    (tmp_path / "train").mkdir()
    assert make(tmp_path / "train", roles=("train",)).manifest("--check") == 0
    assert "it can be trained on, but not evaluated" in capsys.readouterr().err


def test_a_check_writes_nothing_and_a_manifest_needs_a_place(tmp_path, capsys):
    made = make(tmp_path)
    assert made.manifest("--check", "--out", "m.parquet") == 2
    assert "--check writes nothing" in capsys.readouterr().err
    assert made.manifest() == 2
    assert "say by --out where the manifest goes" in capsys.readouterr().err
    assert run(["manifest", "--dataset", "SYSU"]) == 2
    assert "SYSU-30k has no data set file: it can be downloaded, but" in capsys.readouterr().err


@pytest.mark.parametrize(("more", "message"), [
    (["--set", "encoder.identities_per_batch=5"], "encoder.identities_per_batch = 5, but the training images have 4"),
    (["--workers", "3", "--set", "encoder.identities_per_batch=4"], "cannot be shared out to 3 workers"),
    (["--set", "training.evaluate_every=1", "--set", "training.evaluate_split=val"], "no validation images"),
    (["--set", "encoder.spread=both", "--set", "encoder.identities_per_batch=9"], "have 4 identities"),
    (["--set", "encoder.weights={centr: 0}"], "encoder.weights: centr is not a term; terms are: "),
    (["--set", "encoder.redress=1"], "would see none; use less, or encoder.redress_classes=donor"),
    (
        [f"--set=encoder.{more}" for more in ("redress=1", "redress_classes=donor", "redress_kinds=[colour]")],
        "would see none; use less, or encoder.redress_classes=donor and donor among encoder.redress_kinds",
    ),
    (["--set", "encoder.start_epochs={cal: 1}"], "encoder.start_epochs: cal is no term of this training"),
    (
        ["--set", "encoder.alternate=[1, 1]", "--set", "encoder.method=i2t"],
        "encoder.alternate is set, but no term of the method examines",
    ),
])  # fmt: skip
@pytest.mark.parametrize("stage", ["all", "prompts"])
def test_train_refuses_before_stage_one(figures, tmp_path, capsys, monkeypatch, more, message, stage):
    monkeypatch.setattr("stages.prompts.run", lambda *_, **__: pytest.fail("stage 1 began"))
    command = ["train", "--stage", stage, "--params", str(figures.params), "--shards", str(figures.shards)]
    command += ["--prompts", str(tmp_path / "p"), "--out", str(tmp_path / "e"), *more]
    assert run(command) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_redressing_without_garments_is_refused_before_stage_one(figures, tmp_path, capsys, monkeypatch):
    """The shards of a parser that knows body parts and a plain clothes label."""
    monkeypatch.setattr("stages.prompts.run", lambda *_, **__: pytest.fail("stage 1 began"))
    reader = ShardReader(figures.shards, copy=False)
    scheme = LabelScheme("plain", ("background", "clothes", "skin"), frozenset({1}))
    rows = []
    for index, path in enumerate(reader.ids.path):
        ids, mask = reader.ids, reader.mask(index)
        row = ManifestRow(path, ids.split[index], int(ids.person_id[index]), int(ids.camera_id[index]), None)
        labels = np.where(mask, 1, 2).astype(np.uint8)
        rows.append(make_row(row, reader.image(index), labels, mask, Quality(1.0, float(mask.mean()), 0.9, ())))
    shards = tmp_path / "shards"
    write_rows(shards, "figures", rows, [], parser="truth", scheme=scheme)
    command = ["train", "--params", str(figures.params), "--shards", str(shards), "--out", str(tmp_path / "e")]
    command += ["--prompts", str(tmp_path / "p")]
    assert run([*command, "--set", "encoder.redress=0.5"]) == 2
    error = capsys.readouterr().err
    assert "encoder.redress: clothes cannot be changed: the label scheme has no garment among upper, lower" in error
    assert error.count("\n") == 1


def test_training_images_that_will_be_dropped_do_not_count(bare_figures):
    reader, facts = ShardReader(bare_figures.shards), load_facts(str(bare_figures.facts))
    every, kept = labels_of_shards(reader, facts), labels_of_shards(reader, facts, drop_without_clothes=True)
    assert (len(every), len(kept)) == (len(reader), len(reader) - 4)
    assert set(every.image_id) - set(kept.image_id) == set(reader.ids.path[reader.ids.clothes_fraction == 0])
    assert every.with_role("query").person_id.tolist() == kept.with_role("query").person_id.tolist()


def test_ablate_refuses_before_anything_is_started(figures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("stages.study.results.run_plan", lambda *_, **__: pytest.fail("a study began"))
    command = ["ablate", "--study", "table3", "--params", str(figures.params), "--dataset", str(figures.facts)]
    command += ["--shards", str(figures.shards), "--out", str(tmp_path / "s"), "--seeds", "0"]
    assert run([*command, "--set", "encoder.identities_per_batch=5"]) == 2
    assert "encoder.identities_per_batch = 5, but the training images have 4 identities" in capsys.readouterr().err


def test_dvc_checks_before_it_parses():
    commands = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["stages"]["parse"]["cmd"]
    assert commands[0] == "ccaf-pipeline manifest --check"
    assert commands[1].startswith("ccaf-pipeline parse ")


def test_queries_without_a_good_image_come_up_at_the_manifest(tmp_path, capsys):
    made = make(tmp_path)
    table = tmp_path / "people" / "people.csv"
    table.write_text(table.read_text().replace(",2\n", ",1\n"))  # one camera
    assert made.manifest("--check") == 2
    assert "error: protocol general: no query has a good gallery item" in capsys.readouterr().err
