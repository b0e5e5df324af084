"""The evaluate command on feature files of one's own."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.cli import run


def write(path, role, persons, camera, seed=0, clothes=True):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((10, 6))
    values = centres[persons] + 0.05 * rng.standard_normal((len(persons), 6))
    columns = {
        "image_id": [f"{role}{i}" for i in range(len(persons))],
        "role": [role] * len(persons),
        "person_id": persons,
        "camera_id": [camera] * len(persons),
        "feature": [row.tolist() for row in values],
    }
    if clothes:
        columns["clothes_id"] = [10 * person + camera for person in persons]
    pq.write_table(pa.table(columns), path)
    return pa.table(columns)


@pytest.fixture
def one_file(tmp_path):
    query, gallery = (
        write(tmp_path / "q", "query", [1, 2, 3], 1),
        write(tmp_path / "g", "gallery", [1, 2, 3, 3, 4], 2, 1),
    )
    pq.write_table(pa.concat_tables([query, gallery]), tmp_path / "features.parquet")
    return tmp_path / "features.parquet"


def test_default_protocols_follow_the_ids(one_file, capsys):
    assert run(["evaluate", "--features", str(one_file), "--set", "evaluate.bootstrap=20", "--json"]) == 2
    assert "no query has a good gallery item" in capsys.readouterr().err  # sc: nobody keeps the clothes
    code = run(["evaluate", "--features", str(one_file), "--protocol", "general", "--protocol", "cc", "--json"])
    assert code == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads(one_file.with_name("metrics.json").read_text())
    assert set(result["protocols"]) == {"general", "cc"}
    assert result["protocols"]["cc"]["rank1"] == 100.0
    assert result["protocols"]["cc"]["rank1_interval"] == [100.0, 100.0]


def test_two_files_score_like_one(one_file, tmp_path, capsys):
    assert run(["evaluate", "--features", str(one_file), "--protocol", "general", "--json"]) == 0
    single = json.loads(capsys.readouterr().out)
    files = ["--query", str(tmp_path / "q"), "--gallery", str(tmp_path / "g"), "--out", str(tmp_path / "m.json")]
    assert run(["evaluate", *files, "--protocol", "general", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["protocols"] == single["protocols"]


def test_the_table_names_protocol_and_counts(one_file, capsys):
    assert run(["evaluate", "--features", str(one_file), "--protocol", "general"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split() == ["general", *["100.0"] * 6, "3", "(0)", "5"]
    assert "metrics.json" in captured.err


def test_training_identities_are_warned_of(one_file, tmp_path, capsys):
    write(tmp_path / "t", "train", [3, 7], 1)
    arguments = [
        "evaluate",
        "--features",
        str(one_file),
        "--protocol",
        "general",
        "--train-features",
        str(tmp_path / "t"),
    ]
    assert run(arguments) == 0
    assert "1 identities are in training and test (such as 3)" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--protocol", "nosuch"], "unknown protocol 'nosuch'"),
    (["--protocol", "cc", "--dataset", "pku_reid_74"], "does not define the protocol cc; it defines: general"),
    (["--query", "x"], "either --features, or --query and --gallery"),
])  # fmt: skip
def test_user_errors(one_file, capsys, arguments, message):
    assert run(["evaluate", "--features", str(one_file), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_default_file_names_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["evaluate", "--dataset", "walkers"]) == 2
    assert "ccaf-pipeline extract" in capsys.readouterr().err
