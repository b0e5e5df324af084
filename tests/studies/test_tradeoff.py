"""The trade of a study: the points are the means of the metrics files, drawn where they belong, or not at all."""

import re
import statistics
import xml.etree.ElementTree as ElementTree

import pytest
from test_tables import MADE_BY, STUDY, figure, notes_of, plan_with_figures

from pipeline.reporting.figures.drawing import Trail, trails
from pipeline.studies.formats import write_table
from pipeline.studies.study import Study
from pipeline.studies.table import build_table
from pipeline.studies.tradeoff import find_tradeoff

SVG = "{http://www.w3.org/2000/svg}"


def table_of(study, folder, without=()):
    plan = plan_with_figures(study, folder)
    return build_table("small", study, plan, notes_of(plan, without), [], MADE_BY)


def mean(path, protocol):
    return statistics.fmean(figure(path.format(seed=seed), seed, protocol, "mAP") for seed in (0, 1, 2))


def with_protocols(*names):
    return Study.model_validate({**STUDY.model_dump(exclude_none=True), "protocols": names})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return table_of(STUDY, tmp_path_factory.mktemp("trade"))


def test_the_points_are_means_over_the_seeds_of_both_protocols(table):
    found = find_tradeoff(table)
    assert (found.same, found.changing) == ("sc", "cc")
    lines = {line.name: line.points for line in found.lines}
    assert list(lines) == ["ccaf by lambda_con", "frozen", "baseline"]  # no oracles; 0.1 is what ccaf itself has
    names = {"0.1": "ccaf", "0.5": "ccaf@encoder.lambda_con=0.5"}
    assert [label for _, _, label in lines["ccaf by lambda_con"]] == list(names)
    for x, y, label in lines["ccaf by lambda_con"]:
        place = f"seed-{{seed}}/methods/{names[label]}/metrics.json"
        assert (x, y) == pytest.approx((mean(place, "sc"), mean(place, "cc")))
    place = "seed-{seed}/methods/baseline/metrics.json"
    assert lines["baseline"] == ((pytest.approx(mean(place, "sc")), pytest.approx(mean(place, "cc")), ""),)


def test_a_method_that_is_no_point_of_its_sweep_stands_beside(tmp_path):
    sweep = {"parameter": "encoder.redress", "values": [0.25, 0.5], "method": "ccaf"}
    study = Study.model_validate({**STUDY.model_dump(exclude_none=True), "sweeps": [sweep]})
    found = find_tradeoff(table_of(study, tmp_path))
    assert [line.name for line in found.lines] == ["ccaf by redress", "frozen", "baseline", "ccaf"]


def test_points_without_figures_are_left_out(tmp_path):
    lost = [f"seed-{seed}/methods/ccaf@encoder.lambda_con=0.5/metrics.json" for seed in (0, 1, 2)]
    found = find_tradeoff(table_of(STUDY, tmp_path, lost))
    assert [label for _, _, label in found.lines[0].points] == ["0.1"]


def test_without_both_protocols_there_is_no_trade_and_no_drawing(tmp_path):
    table = table_of(with_protocols("cc", "general"), tmp_path / "study")
    assert find_tradeoff(table) is None
    (tmp_path / "table.svg").write_text("of an earlier table")
    assert [path.suffix for path in write_table(table, tmp_path, "table")] == [".json", ".csv", ".md", ".html"]
    assert not (tmp_path / "table.svg").exists()
    assert "The trade" not in (tmp_path / "table.html").read_text()


def test_page_and_file_show_the_drawing(table, tmp_path):
    paths = write_table(table, tmp_path, "table")
    assert paths[-1].name == "table.svg"
    texts = [text.text for text in ElementTree.fromstring(paths[-1].read_text()).iter(f"{SVG}text")]
    for name in ("ccaf by lambda_con", "frozen", "baseline", "0.1", "0.5", "sc mAP", "cc mAP"):
        assert name in texts
    assert "The trade" in (tmp_path / "table.html").read_text()


def test_a_line_is_drawn_in_proportion_and_names_are_no_markup():
    points = ((90.0, 30.0, "a"), (80.0, 40.0, ""), (85.0, 50.0, "$b$"))
    file = trails("<t>", [Trail("$x_1$ & <y>", points), Trail("z", ((80.0, 30.0, ""),))], "across", "up").file
    root = ElementTree.fromstring(file)
    assert {"$x_1$ & <y>", "$b$", "z"} <= {text.text for text in root.iter(f"{SVG}text")}
    path = next(
        path for path in root.iter(f"{SVG}path") if "clip-path" in path.attrib and path.get("d").count("L") == 2
    )
    (x0, y0), (x1, y1), (x2, y2) = re.findall(r"([-\d.]+) ([-\d.]+)", path.get("d"))
    assert float(x0) - float(x1) == pytest.approx(2 * (float(x0) - float(x2)), abs=1e-3)
    assert float(y0) - float(y2) == pytest.approx(2 * (float(y0) - float(y1)), abs=1e-3)


def test_nothing_to_draw_is_an_error():
    for lines in ([], [Trail("a", ())]):
        with pytest.raises(ValueError, match="a line has no points"):
            trails("t", lines, "x", "y")
