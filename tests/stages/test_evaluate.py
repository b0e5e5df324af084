"""The evaluate command on feature files of one's own."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import scipy.io
import torch

from pipeline.evaluation.per_query import PER_QUERY_SCHEMA
from stages.cli import run

CENTRES = np.random.default_rng(99).standard_normal((10, 6))


def rows(role, persons, camera, seed=0, clothes=True, noise=0.05):
    rng = np.random.default_rng(seed)
    values = CENTRES[persons] + noise * rng.standard_normal((len(persons), 6))
    columns = {
        "image_id": [f"{role}{camera}_{i}" for i in range(len(persons))],
        "role": [role] * len(persons),
        "person_id": persons,
        "camera_id": [camera] * len(persons),
        "feature": [row.tolist() for row in values],
    }
    if clothes:
        columns["clothes_id"] = [10 * person + camera for person in persons]
    return pa.table(columns)


def write(path, *tables, **metadata):
    pq.write_table(pa.concat_tables(tables).replace_schema_metadata(metadata), path)
    return path


QUERY, GALLERY = rows("query", [1, 2, 3], 1), rows("gallery", [1, 2, 3, 3, 4], 2, 1)


@pytest.fixture
def one_file(tmp_path):
    return write(tmp_path / "features.parquet", QUERY, GALLERY)


def evaluated(capsys, *arguments):
    """Run with --json; the result, and what was said."""
    assert run(["evaluate", *map(str, arguments), "--json", "--set", "evaluate.bootstrap=20"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def test_the_file_has_the_same_bytes_for_any_number_of_threads(tmp_path):
    persons = [number % 10 for number in range(230)]  # more than one block of queries
    sides = [rows(role, persons, camera, camera, noise=0.9) for camera, role in enumerate(("query", "gallery"), 1)]
    features, before = write(tmp_path / "f.parquet", *sides), torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            command = ["evaluate", "--features", str(features), "--rerank", "--out", str(tmp_path / f"{threads}.json")]
            assert run([*command, "--quiet", "--set", f"threads={threads}"]) == 0
    finally:
        torch.set_num_threads(before)
    assert 10 < json.loads((tmp_path / "1.json").read_text())["protocols"]["general"]["mAP"] < 90
    assert len({(tmp_path / f"{threads}.json").read_bytes() for threads in (1, 2, 5)}) == 1


def test_default_protocols_follow_the_ids_and_what_is_left_out_is_told(one_file, tmp_path, capsys):
    result, said = evaluated(capsys, "--features", one_file)
    assert set(result["protocols"]) == {"general", "cc"}  # nobody keeps the clothes
    assert "protocol sc: no query has a good gallery item: 3 identities are on both sides, but in another" in said
    assert "none of them wears the same clothes; left out" in said
    assert result == json.loads(one_file.with_name("metrics.json").read_text())
    assert result["protocols"]["cc"]["rank1"] == 100.0
    assert result["protocols"]["cc"]["rank1_interval"] == [100.0, 100.0]
    assert (result["bootstrap"], result["seed"]) == (20, 0)
    sides = rows("query", [1], 1, clothes=False), rows("gallery", [1], 2, 1, clothes=False)
    result, said = evaluated(capsys, "--features", write(tmp_path / "plain", *sides))
    assert set(result["protocols"]) == {"general"}
    assert "left out" not in said
    nulls = sides[1].append_column("clothes_id", pa.nulls(1, pa.int64()))
    result, said = evaluated(capsys, "--features", write(tmp_path / "partly", rows("query", [1], 1), nulls))
    assert set(result["protocols"]) == {"general"}
    assert "protocol cc needs clothes ids, but 1 gallery rows have none; left out" in said


def test_two_files_score_like_one(one_file, tmp_path, capsys):
    single, _ = evaluated(capsys, "--features", one_file)
    query = write(tmp_path / "q", QUERY.drop_columns("role"))
    gallery = write(tmp_path / "g", GALLERY.drop_columns("role"))
    double, _ = evaluated(capsys, "--query", query, "--gallery", gallery, "--out", tmp_path / "m.json")
    assert double == single == json.loads((tmp_path / "m.json").read_text())


def test_other_programs_forms_give_the_same_figures(one_file, tmp_path, capsys):
    single, _ = evaluated(capsys, "--features", one_file)
    arrays = {}
    for side, table in (("query", QUERY), ("gallery", GALLERY)):
        arrays[f"{side}_f"] = np.array(table["feature"].to_pylist())
        for name, column in (("label", "person_id"), ("cam", "camera_id"), ("clothes", "clothes_id")):
            arrays[f"{side}_{name}"] = np.array(table[column].to_pylist())
    scipy.io.savemat(tmp_path / "pytorch_result.mat", arrays)
    torch.save({name: torch.from_numpy(values) for name, values in arrays.items()}, tmp_path / "f.pt")
    for name in ("pytorch_result.mat", "f.pt"):
        found, _ = evaluated(capsys, "--features", tmp_path / name)
        assert found == single
        assert found == json.loads((tmp_path / "metrics.json").read_text())
    for side, table in (("query", QUERY), ("gallery", GALLERY)):
        np.save(tmp_path / f"{side}.npy", arrays[f"{side}_f"])
        pyarrow.csv.write_csv(table.drop_columns(["feature", "role"]), tmp_path / f"{side}.csv")
    sides = ("--query", tmp_path / "query.npy", "--gallery", tmp_path / "gallery.npy")
    assert evaluated(capsys, *sides)[0] == single


def test_two_files_keep_the_splits_of_prcc(tmp_path, capsys):
    query = write(tmp_path / "q", rows("test_b", [1, 2], 2), rows("test_c", [1, 2, 3], 3))
    gallery = write(tmp_path / "g", rows("test_a", [1, 1, 2, 3], 1))
    result, _ = evaluated(capsys, "--query", query, "--gallery", gallery, "--dataset", "prcc")
    assert list(result["protocols"]) == [
        "prcc:cc:multi-shot", "prcc:cc:single-shot", "prcc:sc:multi-shot", "prcc:sc:single-shot",
    ]  # fmt: skip
    assert {name: entry["n_query"] for name, entry in result["protocols"].items()} == {
        "prcc:cc:multi-shot": 3, "prcc:cc:single-shot": 3, "prcc:sc:multi-shot": 2, "prcc:sc:single-shot": 2,
    }  # fmt: skip
    assert result["protocols"]["prcc:cc:single-shot"]["draws"] == 10


def test_the_pairs_of_chirla_are_scored_apart_from_one_file_or_two(tmp_path, capsys):
    query = [rows("query_1", [1, 2], 1, clothes=False), rows("query_2", [1, 3], 1, 1, clothes=False)]
    gallery = [rows("gallery_1", [1, 2], 1, 2, clothes=False), rows("gallery_2", [2, 3], 1, 3, clothes=False)]
    one = write(tmp_path / "f", *query, *gallery)
    both = [str(write(tmp_path / name, *tables)) for name, tables in (("q", query), ("g", gallery))]
    result, said = evaluated(capsys, "--features", one, "--dataset", "chirla_long_term")
    entry = result["protocols"]["chirla"]
    assert (entry["pairs"], entry["n_query"], entry["n_skipped"], entry["rank1"]) == (2, 4, 1, 100.0)
    assert "warning" not in said
    sides = ("--query", both[0], "--gallery", both[1], "--out", tmp_path / "m.json")
    assert evaluated(capsys, *sides, "--dataset", "chirla_long_term")[0] == result


def test_the_file_says_its_data_set_and_checkpoint(tmp_path, capsys):
    path = write(tmp_path / "f", QUERY, GALLERY, dataset="ltcc", checkpoint_sha256="abc")
    result, _ = evaluated(capsys, "--features", path)
    assert (result["dataset"], result["checkpoint_sha256"]) == ("ltcc", "abc")
    assert set(result["protocols"]) == {"general", "cc"}
    assert all("of_dataset" not in entry for entry in result["protocols"].values())
    assert run(["evaluate", "--features", str(path), "--dataset", "prcc"]) == 2
    assert "the features are of the data set ltcc, not of prcc" in capsys.readouterr().err
    other = write(tmp_path / "o", QUERY, GALLERY, dataset="my own")
    assert evaluated(capsys, "--features", other)[0]["dataset"] == "my own"


def test_features_of_two_checkpoints_are_not_mixed(tmp_path, capsys):
    files = write(tmp_path / "q", QUERY, checkpoint_sha256="a"), write(tmp_path / "g", GALLERY, checkpoint_sha256="b")
    assert run(["evaluate", "--query", str(files[0]), "--gallery", str(files[1])]) == 2
    assert "differ in checkpoint_sha256: a and b" in capsys.readouterr().err


def test_the_table_is_aligned_and_names_protocol_and_counts(one_file, capsys):
    assert run(["evaluate", "--features", str(one_file), "--protocol", "general", "--protocol", "cc", "--rerank"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["protocol", *["rank1", "rank5", "rank10", "rank20"], "mAP", "mINP", *COUNTS]
    assert lines[1].split() == ["general", *["100.0"] * 6, "3", "0", "5"]
    assert [line.split("  ")[0] for line in lines[1:]] == ["general", "general, re-ranked", "cc", "cc, re-ranked"]
    assert len(set(map(len, lines))) == 1
    assert "metrics.json" in captured.err
    assert "next: ccaf-pipeline report" in captured.err


COUNTS = ["queries", "skipped", "gallery"]


def test_reranked_numbers_stand_apart(one_file, capsys):
    plain, _ = evaluated(capsys, "--features", one_file)
    assert "reranked" not in plain
    both, _ = evaluated(capsys, "--features", one_file, "--rerank", "--set", "evaluate.rerank_neighbours=2")
    assert both["protocols"] == plain["protocols"]
    assert both["reranked"]["cc"]["reranking"] == {"k1": 2, "k2": 6, "lambda": 0.3}
    limit = ["--rerank", "--set", "evaluate.rerank_gigabytes=1e-9"]
    assert run(["evaluate", "--features", str(one_file), *limit]) == 2
    assert "raise it, or leave --rerank out" in capsys.readouterr().err


def test_results_of_each_query(tmp_path, capsys):
    gallery = rows("gallery", [*[1] * 6, *[2] * 6, 3], 2, 1, noise=0.4)
    path, table = write(tmp_path / "f", rows("query", [1, 2, 9], 1), gallery), tmp_path / "queries.parquet"
    result, said = evaluated(capsys, "--features", path, "--protocol", "general", "--rerank", "--per-query", table)
    assert str(table) in said
    found = pq.read_table(table)
    assert found.schema == PER_QUERY_SCHEMA
    listed = found.to_pylist()
    assert [(row["image_id"], row["reranked"]) for row in listed] == [
        (f"query1_{i}", again) for again in (False, True) for i in range(3)
    ]
    plain = listed[:3]
    scored = [row["average_precision"] for row in plain if row["good_count"]]
    assert 100 * np.mean(scored) == pytest.approx(result["protocols"]["general"]["mAP"], abs=1e-3)
    assert (plain[2]["average_precision"], plain[2]["first_rank"]) == (None, None)
    persons = dict(zip(gallery["image_id"].to_pylist(), gallery["person_id"].to_pylist(), strict=True))
    for row in plain:
        assert len(row["gallery_image_ids"]) == 10
        assert row["gallery_good"] == [persons[name] == row["person_id"] for name in row["gallery_image_ids"]]
        if row["good_count"]:
            assert row["gallery_good"].index(True) + 1 == row["first_rank"]


def test_training_identities_are_warned_of(one_file, tmp_path, capsys):
    train = rows("train", [3, 7], 1)
    separate = write(tmp_path / "t", train.drop_columns("role"))
    together = write(tmp_path / "all", QUERY, GALLERY, train)
    for arguments in (["--features", one_file, "--train-features", separate], ["--features", together]):
        result, said = evaluated(capsys, *arguments, "--protocol", "general")
        assert "warning: protocol general: 1 of 3 query identities are in the training set (such as 3)" in said
        assert len(result["warnings"]) == 1


@pytest.mark.parametrize(("arguments", "message"), [
    (["--protocol", "nosuch"], "unknown protocol 'nosuch'; known: general, cc"),
    (["--protocol", "sc"], "protocol sc: no query has a good gallery item"),
    (["--protocol", "prcc:sc"], "no query rows (role query_sc or test_b); the features have roles gallery, query"),
    (["--query", "x"], "either --features, or --query and --gallery"),
])  # fmt: skip
def test_user_errors(one_file, capsys, arguments, message):
    assert run(["evaluate", "--features", str(one_file), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not one_file.with_name("metrics.json").exists()


def test_one_side_alone_and_images_on_both_sides_are_errors(tmp_path, capsys):
    assert run(["evaluate", "--query", "x"]) == 2
    assert "both --query FILE and --gallery FILE" in capsys.readouterr().err
    twice = with_role(GALLERY, "query")
    assert run(["evaluate", "--features", str(write(tmp_path / "f", twice, GALLERY)), "--protocol", "last"]) == 2
    assert "5 images are both query and gallery" in capsys.readouterr().err


def with_role(table, role):
    return table.set_column(table.schema.get_field_index("role"), "role", pa.array([role] * len(table)))


def test_copies_of_queries_in_the_gallery_change_nothing_where_they_are_junk(tmp_path, capsys):
    people = [number % 9 for number in range(27)]
    query, gallery = rows("query", list(range(9)), 1, noise=0.9), rows("gallery", people, 2, 1, noise=0.9)
    plain = write(tmp_path / "plain", query, gallery)
    copies = write(tmp_path / "copies", query, gallery, with_role(query, "gallery"))
    for protocol in ("general", "cc"):
        alone, _ = evaluated(capsys, "--features", plain, "--protocol", protocol, "--out", tmp_path / "a.json")
        found, said = evaluated(capsys, "--features", copies, "--protocol", protocol, "--out", tmp_path / "b.json")
        assert found["protocols"][protocol] == alone["protocols"][protocol] | {"n_query_copies": 9}
        assert 20 < found["protocols"][protocol]["mAP"] < 90
        assert "9 gallery images are queries as well; they were left out" in said
    only = write(tmp_path / "only", query, with_role(query, "gallery"))
    assert run(["evaluate", "--features", str(only), "--protocol", "general"]) == 2
    assert "all 9 gallery images are queries as well" in capsys.readouterr().err
    for protocol in ("last", "celeb"):
        assert run(["evaluate", "--features", str(copies), "--protocol", protocol]) == 2
        assert f"protocol {protocol}: 9 images are both query and gallery" in capsys.readouterr().err


@pytest.mark.parametrize(("dataset", "protocol"), [
    ("ltcc", "sc"), ("ccvid", "ccvid:sc"), ("ccvid", "sc"), ("vcclothes", "cc"), ("pku_reid_74", "cc"),
])  # fmt: skip
def test_any_protocol_whose_labels_are_there_can_be_asked_for(tmp_path, capsys, dataset, protocol):
    query, gallery = rows("query", [1, 2, 3], 1), rows("gallery", [1, 2, 3], 2, 1)
    shared = pa.array([1, 2, 3] if protocol.endswith("sc") else [11, 12, 13])  # the clothes of the gallery
    sides = []
    for number, (side, clothes) in enumerate(((query, pa.array([1, 2, 3])), (gallery, shared))):
        side = side.set_column(side.schema.get_field_index("clothes_id"), "clothes_id", clothes)
        sides.append(side.append_column("tracklet_id", pa.array(range(10 * number, 10 * number + 3))))
    path = write(tmp_path / "f", *sides, dataset=dataset)
    result, said = evaluated(capsys, "--features", path, "--protocol", protocol)
    assert result["protocols"][protocol]["of_dataset"] is False
    assert result["protocols"][protocol]["rank1"] == 100.0
    assert f"protocol {protocol} is not one that data set {dataset} defines" in said
    nameless = write(tmp_path / "n", *(side.drop_columns("clothes_id") for side in sides), dataset=dataset)
    assert run(["evaluate", "--features", str(nameless), "--protocol", protocol]) == 2
    assert f"protocol {protocol} needs clothes ids, but 3 query rows have none" in capsys.readouterr().err


def test_too_much_memory_for_reranking_is_refused_before_anything_is_ranked(one_file, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.evaluation.metrics.score", lambda *_, **__: pytest.fail("it was ranked"))
    limit = ["--rerank", "--set", "evaluate.rerank_gigabytes=1e-9"]
    assert run(["evaluate", "--features", str(one_file), *limit]) == 2
    assert "raise it, or leave --rerank out" in capsys.readouterr().err


def test_a_missing_default_file_names_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["evaluate", "--dataset", "walkers"]) == 2
    assert "ccaf-pipeline extract" in capsys.readouterr().err
