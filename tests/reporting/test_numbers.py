"""Metrics files: read, put side by side, refused when they are something else."""

import json

import pytest

from pipeline.errors import InputError
from pipeline.reporting.numbers import Absent, Figure, make_numbers, read_metrics


def entry(name, value, **more):
    figures = {key: value + index for index, key in enumerate(("rank1", "rank5", "rank10", "rank20", "mAP", "mINP"))}
    return {"name": name, "meaning": "m", "n_query": 7, "n_gallery": 30, "n_skipped": 2, **figures, **more}


def write(path, *entries, **more):
    path.write_text(json.dumps({"dataset": "d", **more, "protocols": {item["name"]: item for item in entries}}))
    return path


def test_entries_are_read_in_the_programs_order(tmp_path):
    path = write(
        tmp_path / "m.json", entry("own", 3.0), entry("cc", 1.0, rank1_interval=[0.5, 2.5]), entry("general", 2.0)
    )
    metrics = read_metrics(path, "evaluate")
    assert [score.name for score in metrics.scores] == ["general", "cc", "own"]
    assert metrics.scores[1].figures["rank1"] == Figure(1.0, 0.5, 2.5)
    assert metrics.scores[1].figures["mAP"] == Figure(5.0)
    assert (metrics.scores[0].n_query, metrics.scores[0].n_gallery, metrics.scores[0].n_skipped) == (7, 30, 2)
    assert metrics.config == {"dataset": "d"}


def test_trained_and_frozen_stand_side_by_side(tmp_path):
    trained = read_metrics(
        write(tmp_path / "a.json", entry("general", 50.0, mAP_interval=[1, 2]), entry("cc", 40.0)), ""
    )
    frozen = read_metrics(write(tmp_path / "b.json", entry("general", 30.5)), "")
    numbers = make_numbers(trained, frozen)
    assert numbers.intervals
    assert numbers.frozen is None
    general, changing = numbers.protocols
    assert general.frozen
    assert [row.gain for row in general.rows] == [19.5] * 6
    assert [row.name for row in general.rows] == ["Rank-1", "Rank-5", "Rank-10", "Rank-20", "mAP", "mINP"]
    assert not changing.frozen
    assert {row.frozen for row in changing.rows} == {None}


def test_re_ranked_figures_have_a_column_of_their_own(tmp_path):
    path = write(tmp_path / "a.json", entry("general", 50.0), entry("cc", 40.0), reranked={"cc": entry("cc", 45.0)})
    metrics = read_metrics(path, "")
    assert "reranked" not in metrics.config
    general, changing = make_numbers(metrics, Absent("none", "make it")).protocols
    assert (general.reranked, changing.reranked) == (False, True)
    assert changing.rows[0].reranked == Figure(45.0)
    assert changing.rows[0].trained == Figure(40.0)


def test_without_frozen_metrics_the_section_says_so(tmp_path):
    trained = read_metrics(write(tmp_path / "a.json", entry("general", 50.0)), "")
    absent = Absent("none", "make it")
    numbers = make_numbers(trained, absent)
    assert numbers.frozen == absent
    assert not numbers.intervals


def test_single_shot_has_draws_and_spreads(tmp_path):
    score = read_metrics(write(tmp_path / "a.json", entry("x", 50.0, draws=10, rank1_sd=1.5)), "").scores[0]
    assert score.draws == 10
    assert score.figures["rank1"] == Figure(50.0, spread=1.5)


@pytest.mark.parametrize("text", [
    "[]", "{}", '{"protocols": []}', '{"protocols": {"cc": 3}}', '{"protocols": {"cc": {"name": "cc"}}}', "nonsense",
    json.dumps({"protocols": {"cc": entry("cc", 1.0, mAP="high")}}),
    json.dumps({"protocols": {"cc": entry("cc", 1.0, mAP_interval=[1])}}),
    json.dumps({"protocols": {"cc": entry("cc", 1.0) | {"mAP": float("nan")}}}),
    json.dumps({"protocols": {}}),
])  # fmt: skip
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"m\.json"):
        read_metrics(path, "evaluate")


def test_a_missing_file_is_refused_with_the_command(tmp_path):
    with pytest.raises(InputError, match=r"no metrics at .*: run `evaluate` first"):
        read_metrics(tmp_path / "m.json", "evaluate")
