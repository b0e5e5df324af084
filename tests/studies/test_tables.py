"""The table of a study: figures against a plain calculation, and four formats that say the same."""

import csv
import io
import json
import math
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.studies.blocks import make_blocks
from pipeline.studies.finished import describe_run
from pipeline.studies.formats import table_as_csv, table_as_html, table_as_markdown, write_table
from pipeline.studies.plan import GridPoint, make_plan
from pipeline.studies.reading import load_study, study_names
from pipeline.studies.rows import Base, Plan
from pipeline.studies.schedule import Note
from pipeline.studies.statistics import spread_of
from pipeline.studies.study import Study
from pipeline.studies.table import build_table, order_protocols, table_as_json
from pipeline.studies.tuning import Score, choose, tuning_as_markdown

STUDY = Study.model_validate(
    {
        "title": "Small & <quick>",
        "source": "a test",
        "parameters": {"model": {"name": "walker-clip"}},
        "seeds": [0, 1, 2],
        "reference": ["baseline"],
        "protocols": ["cc", "sc"],
        "methods": {"baseline": None, "ccaf": None},
        "sweeps": [{"parameter": "encoder.lambda_con", "values": [0.1, 0.5], "method": "ccaf"}],
        "paper": {"PRCC": {"baseline": [62.9, 59.1], "ccaf": [70.4, 63.7]}, "LTCC": {"ccaf": [42.9, 20.1]}},
    }
)
MADE_BY = {"version": "1.2.3", "rendered": True, "clip": "c" * 64}


def figure(row: str, seed: int, protocol: str, metric: str) -> float:
    """Any number that differs everywhere."""
    return 10.0 + (sum(map(ord, row + protocol + metric)) * 7919 + seed * 104729) % 6007 / 100


def plan_with_figures(study: Study, folder: Path) -> Plan:
    """A plan whose runs have metrics and leakage."""
    plan = make_plan(study, folder, Base(), None, {})
    for row in plan.rows:
        for seed, run in row.runs.items():
            protocols = {
                protocol: {metric: figure(run.metrics, seed, protocol, metric) for metric in ("rank1", "mAP")}
                for protocol in ("general", "cc", "sc")
            }
            write_json(plan.steps[run.metrics].out, {"protocols": protocols})
            if run.leakage is not None:
                headline = {
                    "upper_colour": {"accuracy": figure(run.leakage, seed, "upper", "accuracy"), "chance": 8.0 + seed},
                    "retrieval_upper_colour": {"mAP": figure(run.leakage, seed, "upper", "mAP"), "chance": 12.5},
                }
                write_json(plan.steps[run.leakage].out, {"headline": headline})
    return plan


@pytest.fixture
def plan(tmp_path):
    return plan_with_figures(STUDY, tmp_path)


def notes_of(plan, without=()):
    return {
        name: Note(f"hash of {name}", 60.0 + index, f"code of {step.kind}")
        for index, (name, step) in enumerate(plan.steps.items())
        if name not in without
    }


@pytest.fixture
def table(plan):
    return build_table("small", STUDY, plan, notes_of(plan), [], MADE_BY)


def test_figures_are_those_of_the_metrics_files(plan, table):
    rows = {row["name"]: row for row in table_as_json(table)["rows"]}
    points = ["ccaf@encoder.lambda_con=0.1", "ccaf@encoder.lambda_con=0.5"]
    assert list(rows) == ["oracle-clothes", "oracle-visible", "frozen", "baseline", "ccaf", *points]
    for row in plan.rows:
        for protocol in ("cc", "sc"):
            for metric in ("rank1", "mAP"):
                values = [figure(row.runs[seed].metrics, seed, protocol, metric) for seed in (0, 1, 2)]
                found = rows[row.name]["figures"][protocol][metric]
                assert list(found["values"].values()) == values
                assert found["mean"] == pytest.approx(statistics.fmean(values))
                assert found["sd"] == pytest.approx(statistics.stdev(values))
                assert found["se"] == pytest.approx(statistics.stdev(values) / math.sqrt(3))
    minutes = rows["ccaf"]["figures"]["training"]["minutes"]["values"]
    assert minutes["1"] == round(notes_of(plan)["seed-1/methods/ccaf/encoder"].seconds / 60, 2)


def test_differences_are_paired_by_seed(plan, table):
    rows = {row.name: row for row in plan.rows}
    differences = [
        figure(rows["ccaf"].runs[seed].metrics, seed, "cc", "mAP")
        - figure(rows["baseline"].runs[seed].metrics, seed, "cc", "mAP")
        for seed in (0, 1, 2)
    ]
    half = 4.302653 * statistics.stdev(differences) / math.sqrt(3)
    found = next(row for row in table_as_json(table)["rows"] if row["name"] == "ccaf")["differences"]["baseline"]
    assert found["cc"]["mAP"]["mean"] == pytest.approx(statistics.fmean(differences))
    assert found["cc"]["mAP"]["low"] == pytest.approx(statistics.fmean(differences) - half, abs=1e-4)
    assert found["cc"]["mAP"]["high"] == pytest.approx(statistics.fmean(differences) + half, abs=1e-4)


def test_csv_has_every_number_of_the_json(table):
    found = {}
    for row in csv.DictReader(io.StringIO(table_as_csv(table))):
        key = (row["row"], row["group"], row["measure"], row["statistic"], row["reference"], row["seed"])
        assert key not in found
        found[key] = (row["value"], row["low"], row["high"])
    expected = {}
    for row in table_as_json(table)["rows"]:
        for group, measures in row["figures"].items():
            for measure, spread in measures.items():
                base = (row["name"], group, measure)
                for statistic in ("mean", "sd", "se"):
                    expected[*base, statistic, "", ""] = (str(spread[statistic]), "", "")
                for seed, value in spread["values"].items():
                    expected[*base, "value", "", seed] = (str(value), "", "")
        for reference, groups in row["differences"].items():
            for group, measures in groups.items():
                for measure, difference in measures.items():
                    key = (row["name"], group, measure, "difference", reference, "")
                    expected[key] = tuple(str(difference[end]) for end in ("mean", "low", "high"))
    assert found == expected


class Tables(HTMLParser):
    """Texts of the cells of all tables of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._inside = False

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._inside = True
        elif tag == "span" and self._inside:
            self.tables[-1][-1][-1] += " "

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.tables[-1][-1][-1] += data


def markdown_tables(text: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append([cell.strip().replace("**", "") for cell in line.strip("|").split("|")])
        before = line
    return tables


def test_markdown_and_page_show_the_same_cells_and_these_are_the_jsons_rounded(table):
    parser = Tables()
    parser.feed(table_as_html(table))
    shown = markdown_tables(table_as_markdown(table))
    assert shown == parser.tables
    leakage = ["Leakage", "Leakage: difference to baseline"]
    titles = ["Results", "Difference to baseline", *leakage, "encoder.lambda_con", "The paper's figures"]
    assert [block.title for block in make_blocks(table)] == titles
    results = {row[0]: row for row in shown[0]}
    value = {row["name"]: row for row in table_as_json(table)["rows"]}
    for name in ("frozen", "baseline", "ccaf"):
        for column, (protocol, metric) in enumerate(table_as_json(table)["measures"][:4], start=1):
            spread = value[name]["figures"][protocol][metric]
            assert results[name][column] == f"{spread['mean']:.1f} ± {spread['sd']:.1f}"
        assert results[name][-3:-1] == ["3", f"{value[name]['figures']['cc']['rank1']['se']:.2f}"]
    difference = value["ccaf"]["differences"]["baseline"]["sc"]["rank1"]
    texts = [f"{difference[end]:+.1f}".replace("-", "−") for end in ("mean", "low", "high")]
    assert {row[0]: row for row in shown[1]}["ccaf"][3] == f"{texts[0]} [{texts[1]}, {texts[2]}]"
    assert shown[5][2] == ["ccaf", "70.4", "63.7", "42.9", "20.1"]
    assert shown[5][1] == ["baseline", "62.9", "59.1", "–", "–"]


def test_leakage_stands_beside_its_chance_levels(plan, table):
    value = table_as_json(table)
    assert value["measures"][4:] == [["leakage", "upper_colour"], ["leakage", "retrieval_upper_colour"]]
    assert value["chance"]["leakage"] == {"upper_colour": 9.0, "retrieval_upper_colour": 12.5}
    row = next(row for row in value["rows"] if row["name"] == "ccaf")
    path = "seed-2/methods/ccaf/leakage.json"
    assert row["figures"]["leakage"]["upper_colour"]["values"]["2"] == figure(path, 2, "upper", "accuracy")
    assert row["figures"]["leakage"]["retrieval_upper_colour"]["values"]["2"] == figure(path, 2, "upper", "mAP")
    assert markdown_tables(table_as_markdown(table))[2][-1] == ["chance", "9.0", "12.5"]


def test_the_page_needs_nothing_else_and_escapes_what_comes_from_outside(table):
    page = table_as_html(table)
    assert page.count("<svg") == 3  # the trade, and cloth-changing Rank-1 and mAP over the swept values
    assert "Small &amp; &lt;quick&gt;" in page
    assert "<quick>" not in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "http:" not in page
    assert "https:" not in page


def test_what_made_it_is_in_every_format_that_people_read(table):
    for text in (table_as_markdown(table), table_as_html(table)):
        for part in ("1.2.3", "c" * 64, table.made_by["study_sha256"][:12], "0, 1, 2, of data and training", "walkers"):
            assert part in text


def test_the_same_table_gives_the_same_bytes(table, tmp_path):
    first = [path.read_bytes() for path in write_table(table, tmp_path / "a", "table")]
    second = [path.read_bytes() for path in write_table(table, tmp_path / "b", "table")]
    assert first == second
    assert json.loads(first[0]) == json.loads(json.dumps(table_as_json(table)))


def test_a_table_with_a_failure_says_so_and_shows_what_there_is(plan):
    lost = "seed-1/methods/ccaf/metrics.json"
    table = build_table("small", STUDY, plan, notes_of(plan, [lost]), ["ccaf broke"], MADE_BY)
    value = table_as_json(table)
    row = next(row for row in value["rows"] if row["name"] == "ccaf")
    assert (value["complete"], value["failures"], row["missing_seeds"]) == (False, ["ccaf broke"], [1])
    assert list(row["figures"]["cc"]["mAP"]["values"]) == ["0", "2"]
    for text in (table_as_markdown(table), table_as_html(table)):
        assert "Incomplete" in text
        assert "ccaf broke" in text
        assert "without seed 1" in text


def test_a_damaged_metrics_file_is_named(plan):
    path = plan.steps["seed-0/frozen/metrics.json"].out
    path.write_text('{"protocols": {"cc": {"rank1": 1}}}')
    with pytest.raises(InputError, match="are not what ccaf-pipeline evaluate writes"):
        build_table("small", STUDY, plan, notes_of(plan), [], MADE_BY)


def test_protocols_are_the_studys_or_else_all_with_the_cloth_changing_ones_first():
    assert order_protocols(["general", "cc", "sc"], ["cc", "general"]) == ["cc", "general"]
    found = ["prcc:sc:multi-shot", "prcc:cc:multi-shot", "prcc:cc:single-shot"]
    assert order_protocols(found, ["cc"]) == [*found[1:], found[0]]


def test_tuning_chooses_the_best_mean_and_no_point_that_failed():
    def score(method: str, value: float, *values: float) -> Score:
        point = GridPoint(method, {"encoder.learning_rate": value}, f"{method}@{value}")
        return Score(point, spread_of(dict(enumerate(values, start=100))) if values else None)

    scores = [score("a", 0.1, 3.0, 5.0), score("a", 0.2, 9.0, 0.0), score("a", 0.3, 4.5, 4.5), score("a", 0.4)]
    chosen = choose([*scores, score("b", 0.1)])
    assert chosen == {"a": {"encoder.learning_rate": 0.2}}
    study = STUDY.model_copy(update={"tuning": None})
    study = Study.model_validate({
        **study.model_dump(exclude_none=True),
        "tuning": {"seeds": [100, 101], "grid": {"encoder.learning_rate": [0.1, 0.2, 0.3, 0.4]}},
    })  # fmt: skip
    text = tuning_as_markdown(study, scores, chosen, [])
    assert "| a | 0.2 | **4.50** | 9.00 | 0.00 |" in text
    assert "| a | 0.4 | failed |  |  |" in text


def test_artifacts_lie_where_the_plan_says(plan, tmp_path):
    assert plan.steps["seed-2/methods/ccaf/metrics.json"].out == Path(tmp_path) / "seed-2/methods/ccaf/metrics.json"


@pytest.mark.parametrize("name", study_names())
def test_the_page_reads_whole_at_the_widths_of_screens(name, tmp_path, cut_parts):
    study = load_study(name)
    plan = plan_with_figures(study, tmp_path / "study")
    headline = {
        kind: {"accuracy": 98.7, "chance": 12.5} for kind in ("clothes", "identity", "upper_colour", "within_identity")
    }
    for row in plan.rows:
        for run in row.runs.values():
            if run.leakage is not None:
                retrieval = {"mAP": figure(run.leakage, 0, "lower", "mAP"), "chance": 12.5}
                write_json(
                    plan.steps[run.leakage].out, {"headline": {**headline, "retrieval_lower_garment": retrieval}}
                )
    write_table(build_table(name, study, plan, notes_of(plan), [], MADE_BY), tmp_path, "table")
    for width in (1000, 1300, 1600):
        assert cut_parts(tmp_path / "table.html", width) == []


def test_a_finished_run_is_told_in_one_line(plan):
    metrics = "seed-1/methods/ccaf/metrics.json"
    rank1, mean = (figure(metrics, 1, "cc", metric) for metric in ("rank1", "mAP"))
    assert describe_run(STUDY, plan, metrics) == f"ccaf, seed 1: cc Rank-1 {rank1:.1f}, mAP {mean:.1f}"
