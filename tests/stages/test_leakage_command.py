"""The commands leakage and oracle on a small rendered data set, and on features without factors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Parameters
from pipeline.datasets.catalog import load_facts, read_dataset
from pipeline.datasets.walkers.factors import FACTORS
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.datasets.walkers.writer import render_walkers
from pipeline.evaluation.leakage.settings import LeakageSettings
from pipeline.features.feature_set import read_features
from stages import leakage, oracle
from stages.cli import run
from stages.console import Console

SETTINGS = SynthSettings(height=64, train_identities=2, test_identities=30)
FEWER = SynthSettings(height=64, train_identities=2, test_identities=3)
SILENT = Console(quiet=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    render_walkers(folder / "walkers", SETTINGS, seed=1)
    return folder


@pytest.fixture(scope="module")
def parameters(root: Path) -> Parameters:
    return Parameters.model_validate({"data": {"root": str(root)}, "threads": 1})


@pytest.fixture(scope="module")
def oracles(root: Path, parameters: Parameters) -> dict[str, Path]:
    """Feature files by kind."""
    files = {kind: root / f"features-{kind}.parquet" for kind in ("identity", "visible", "clothes")}
    for kind, path in files.items():
        oracle.run(parameters, SILENT, kind, path)
    return files


@pytest.fixture(scope="module")
def results(root: Path, parameters: Parameters, oracles: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Leakage of the identity and of the clothes oracle; also written to ``<kind>.json``."""
    kinds = ("identity", "clothes")
    return {kind: leakage.run(parameters, SILENT, oracles[kind], root / f"{kind}.json") for kind in kinds}


def with_columns(path, source, **columns):
    table = pq.read_table(source)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, path)
    return path


def test_an_oracle_has_the_images_roles_and_ids_that_extract_gives(root, oracles):
    manifest = read_dataset(load_facts("walkers"), root / "walkers").manifest
    expected = [row for row in manifest.to_pylist() if row["split"] != "train"]  # sorted, as shards are
    found = pq.read_table(oracles["visible"]).to_pylist()
    assert [row["image_id"] for row in found] == [row["image_id"] for row in expected]
    assert [row["role"] for row in found] == [row["split"] for row in expected]
    for name in ("person_id", "camera_id", "clothes_id", "tracklet_id"):
        assert [row[name] for row in found] == [row[name] for row in expected]


def test_ceiling_and_floor_are_scored_by_evaluate(oracles, tmp_path, capsys):
    scores = {}
    for kind, path in oracles.items():
        options = ["--set", "evaluate.bootstrap=0", "--json", "--quiet", "--out", str(tmp_path / "m.json")]
        assert run(["evaluate", "--features", str(path), *options]) == 0
        scores[kind] = json.loads(capsys.readouterr().out)["protocols"]
    assert {scores["identity"][name]["mAP"] for name in ("general", "cc", "sc")} == {100.0}
    assert 80 < scores["visible"]["cc"]["mAP"] < 100.01
    assert scores["clothes"]["cc"]["mAP"] < 20
    assert scores["clothes"]["sc"]["mAP"] > 95


def test_the_identity_oracle_leaks_no_clothes_and_the_clothes_oracle_nothing_else(results):
    identity, clothes = results["identity"], results["clothes"]
    head, other = identity["headline"], clothes["headline"]
    assert head["identity"]["accuracy"] > head["identity"]["chance"] + 20
    assert other["clothes"]["accuracy"] > other["clothes"]["chance"] + 20
    assert head["upper_colour"]["balanced_accuracy"] < 30 < 60 < other["upper_colour"]["balanced_accuracy"]
    assert head["within_identity"]["accuracy"] == head["within_identity"]["chance"]  # constant within a person
    assert other["within_identity"]["accuracy"] == 100
    assert head["retrieval_upper_colour"]["mAP"] < 2 * head["retrieval_upper_colour"]["chance"]
    assert other["retrieval_upper_colour"]["mAP"] > 2 * other["retrieval_upper_colour"]["chance"]
    assert (identity["oracle"], clothes["oracle"]) == ("identity", "clothes")


def test_every_figure_has_n_and_chance_and_every_factor_a_figure_or_a_reason(results):
    result = results["clothes"]
    named = [*result["probes"]["clothes"], *result["probes"]["identity"], *result["left_out"]]
    assert sorted(named) == sorted(FACTORS)
    entries = [
        *result["headline"].values(), *result["retrieval"].values(),
        *result["probes"]["clothes"].values(), *result["probes"]["identity"].values(),
    ]  # fmt: skip
    for entry in entries:
        assert entry["n"] > 0
        assert 0 <= entry["chance"] <= 100
    assert result["images"] == result["headline"]["upper_colour"]["n"]


def test_the_visible_oracle_hides_what_an_image_does_not_show(root, oracles):
    table = pq.read_table(root / "walkers/attributes.parquet")
    rows = {f"{row['split']}/{row['path']}": row for row in table.to_pylist()}
    features, _ = read_features(oracles["visible"])
    start = 0
    columns = {}
    for name, factor in FACTORS.items():
        if not factor.of_clothes:
            columns[name] = slice(start, start + len(factor.names))
            start += len(factor.names)
    assert features.features.shape[1] == start
    hidden = {"beard": 0, "legs": 0}
    for feature, image in zip(features.features, features.image_id, strict=True):
        row = rows[str(image)]
        behind = np.cos(row["yaw"]) < -0.5867  # where head.py draws no face
        assert (feature[columns["beard"]] == 0).all() == behind
        assert (feature[columns["glasses"]] == 0).all() == behind
        dress = FACTORS["upper_type"].names[row["upper_type"]] == "dress"
        long_skirt = FACTORS["lower_type"].names[row["lower_type"]] == "long skirt" and row["lower_type"] >= 0
        covered = row["occluded"] or dress or long_skirt
        assert (feature[columns["legs"]] == 0).all() == covered
        assert feature[columns["skin"]].any()
        hidden["beard"] += behind
        hidden["legs"] += covered
    assert min(hidden.values()) > 5


def test_training_rows_take_no_part(parameters, oracles, tmp_path):
    source = pq.read_table(oracles["clothes"])
    roles = np.array(source["role"].to_pylist(), dtype=object)
    first = np.array(source["person_id"]) == source["person_id"][0].as_py()
    roles[first] = "train"
    partly = with_columns(tmp_path / "partly.parquet", oracles["clothes"], role=pa.array(roles.tolist()))
    two_folds = parameters.model_copy(update={"leakage": LeakageSettings(folds=2)})
    result = leakage.run(two_folds, SILENT, partly, tmp_path / "l.json")
    assert result["people"] == SETTINGS.test_identities - 1
    none = with_columns(tmp_path / "none.parquet", oracles["clothes"], role=pa.array(["train"] * len(roles)))
    assert run(["leakage", "--features", str(none), "--dataset", "walkers", "--root", str(tmp_path)]) == 2


def test_features_of_another_rendering_are_refused(root, oracles, tmp_path, capsys):
    render_walkers(tmp_path / "walkers", FEWER, seed=2)
    arguments = ["leakage", "--dataset", "walkers", "--features", str(oracles["clothes"]), "--out", str(tmp_path / "l")]

    def refused(*more: str) -> str:
        assert run([*arguments, *more]) == 2
        return capsys.readouterr().err

    assert "are not in attributes.parquet (such as " in refused("--root", str(tmp_path))
    assert "attributes.parquet not found: render it" in refused("--root", str(tmp_path / "nothing"))
    assert "need 31 people, but the features have 30" in refused("--root", str(root), "--set", "leakage.folds=31")
    other = pa.array(np.zeros(pq.read_metadata(oracles["clothes"]).num_rows, dtype=np.int64))
    arguments[4] = str(with_columns(tmp_path / "f.parquet", oracles["clothes"], person_id=other))
    assert "person_id of" in refused("--root", str(root))
    assert not (tmp_path / "l").exists()


def test_the_features_must_be_of_the_data_set_that_is_named(oracles, capsys):
    assert run(["leakage", "--features", str(oracles["clothes"]), "--dataset", "prcc"]) == 2
    assert "are of the data set walkers, not of prcc: set --dataset" in capsys.readouterr().err


def test_a_data_set_without_factors_is_probed_within_identities(oracles, tmp_path, capsys):
    plain = tmp_path / "features-plain.parquet"
    pq.write_table(pq.read_table(oracles["clothes"]).replace_schema_metadata({"dataset": "ltcc"}), plain)
    assert run(["leakage", "--features", str(plain), "--dataset", "ltcc"]) == 0
    captured = capsys.readouterr()
    assert "outfit within identity" in captured.out
    result = json.loads((tmp_path / "leakage-plain.json").read_text())
    assert set(result["headline"]) == {"within_identity"}
    assert result["within_identity"]["other_cameras"]["accuracy"] > 95
    bare = with_columns(tmp_path / "bare.parquet", plain, clothes_id=pa.nulls(result["images"], pa.int64()))
    assert run(["leakage", "--features", str(bare), "--dataset", "ltcc"]) == 2
    assert "leakage cannot be measured: the images have no clothes ids" in capsys.readouterr().err


def test_other_programs_forms_give_the_same_figures(parameters, oracles, results, tmp_path):
    table = pq.read_table(oracles["clothes"])
    (tmp_path / "folder").mkdir()
    for number, start in enumerate(range(0, len(table), 100)):
        pq.write_table(table.slice(start, 100), tmp_path / "folder" / f"{number:03d}.parquet")
    columns = {name: np.array(table[name].to_pylist()) for name in ("image_id", "role", "person_id", "camera_id")}
    clothes = np.array(table["clothes_id"].to_pylist())
    features = np.array(table["feature"].to_pylist(), np.float32)
    np.savez(tmp_path / "f.npz", features=features, clothes_ids=clothes, **columns)
    for path in (tmp_path / "folder", tmp_path / "f.npz"):
        found = leakage.run(parameters, SILENT, path, tmp_path / "l.json")
        assert found["headline"] == results["clothes"]["headline"]


def test_ids_that_stand_for_nobody_take_no_part(oracles, tmp_path):
    somebody = pq.read_table(oracles["clothes"])["person_id"][0].as_py()
    facts = load_facts("ltcc").model_dump(mode="json") | {"name": "mine", "no_person_ids": [somebody]}
    (tmp_path / "mine.yaml").write_text(json.dumps(facts))
    features = tmp_path / "f.parquet"
    pq.write_table(pq.read_table(oracles["clothes"]).replace_schema_metadata({"dataset": "mine"}), features)
    mine = Parameters.model_validate({"data": {"dataset": str(tmp_path / "mine.yaml")}, "threads": 1})
    result = leakage.run(mine, SILENT, features, tmp_path / "l.json")
    assert result["people"] == SETTINGS.test_identities - 1


def test_the_command_prints_a_table_and_writes_what_run_wrote(root, oracles, results, tmp_path, capsys):
    out = tmp_path / "l.json"
    arguments = ["--features", str(oracles["clothes"]), "--dataset", "walkers", "--root", str(root)]
    assert run(["leakage", *arguments, "--out", str(out), "--set", "threads=1"]) == 0
    assert out.read_bytes() == (root / "clothes.json").read_bytes()
    assert json.loads(out.read_text()) == results["clothes"]
    lines = capsys.readouterr().out.splitlines()
    assert len(set(map(len, lines))) == 1
    assert any(line.startswith("clothes: upper_colour ") for line in lines)


def test_oracles_are_for_rendered_data_sets(parameters, tmp_path, capsys):
    arguments = ["oracle", "--kind", "identity", "--out", str(tmp_path / "f.parquet")]
    assert run([*arguments, "--dataset", "prcc", "--root", str(tmp_path)]) == 2
    assert "oracles exist for rendered data sets (reader walkers), not for prcc" in capsys.readouterr().err
    assert run([*arguments, "--dataset", "walkers", "--root", str(tmp_path)]) == 2
    assert "attributes.parquet not found" in capsys.readouterr().err
