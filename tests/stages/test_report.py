"""The report command on a trained tiny data set: what the page holds, what is absent, refusals, equal bytes."""

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.main import get_group

from pipeline.config import load_parameters
from pipeline.datasets.catalog import load_facts
from pipeline.models.builtin import builtin_weights
from pipeline.reporting.numbers import Absent, Metrics
from pipeline.reporting.origin import Inputs
from pipeline.reporting.recipe import make_recipe, recipe_parameters
from pipeline.shards.reader import ShardReader
from pipeline.workspace import Workspace
from stages.cli import app, run


@dataclass(frozen=True)
class Place:
    """A working folder whose artifacts/figures holds everything that the page can show."""

    folder: Path
    params: Path

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts" / "figures"


def work(*arguments: str) -> None:
    assert run([*arguments, "--quiet"]) == 0


@pytest.fixture(scope="module")
def made(figures, tmp_path_factory):
    """Everything, made by the commands in their order."""
    place = Place(tmp_path_factory.mktemp("report"), figures.params)
    shutil.copytree(figures.shards, place.artifacts / "shards")
    params = ("--params", str(figures.params))
    frozen = str(place.artifacts / "features-frozen.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.folder)
        work("train", *params)
        work("extract", *params)
        work("evaluate", *params)
        work("extract", "--frozen", *params)
        work("evaluate", "--features", frozen, "--out", str(place.artifacts / "metrics-frozen.json"), *params)
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy that a test may spoil; the working folder."""
    shutil.copytree(made.artifacts, tmp_path / "artifacts" / "figures")
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, made.params)


def report(place: Place, *more: str) -> int:
    return run(["report", "--params", str(place.params), *more])


def test_the_page_holds_what_was_made(place, capsys):
    assert report(place, "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    page = (place.artifacts / "report.html").read_text()
    assert "report of figures, " in captured.err
    assert result == {
        "absent": {},
        "bytes": len(page.encode()),
        "out": "artifacts/figures/report.html",
        "protocols": ["general", "cc", "sc"],
        "ranked_queries": 8,
        "sheet_images": 12,
        "warnings": [],
    }
    for run_folder in ("prompts", "encoder"):
        assert json.loads((place.artifacts / run_folder / "config.json").read_text())["weights_sha256"] in page
        for column in (place.artifacts / run_folder / "curves.csv").read_text().splitlines()[0].split(",")[1:]:
            assert f'aria-label="{column} by epoch"' in page
    metrics = json.loads((place.artifacts / "metrics.json").read_text())["protocols"]
    frozen = json.loads((place.artifacts / "metrics-frozen.json").read_text())["protocols"]
    for entry in (*metrics.values(), *frozen.values()):
        assert f"<td>{entry['mAP']:.1f}<span" in page
    assert "Protocol <b>cc</b>" in page
    assert "the data set&#39;s own labels" in page
    assert "Clothes feature minimisation was on" in page
    assert "train/bad.png: no file" in page


def test_equal_inputs_give_equal_bytes_and_the_seed_draws(place):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "5")):
        assert report(place, "--quiet", "--out", f"{name}.html", "--seed", seed) == 0
    pages = [(place.folder / f"{name}.html").read_bytes() for name in "abc"]
    assert pages[0] == pages[1] != pages[2]


def test_the_parameters_decide_how_much_is_shown(place, capsys):
    shown = ("--set", "report.sheet_images=3", "--set", "report.ranked_queries=2", "--set", "report.ranked_depth=4")
    assert report(place, "--json", *shown) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["sheet_images"], result["ranked_queries"]) == (3, 2)
    page = (place.artifacts / "report.html").read_text()
    assert page.count('class="hit right"') + page.count('class="hit wrong"') == 8


def test_what_is_optional_may_be_absent(place, capsys):
    for name in ("prompts", "encoder"):
        shutil.rmtree(place.artifacts / name)
    for name in ("features.parquet", "metrics-frozen.json"):
        (place.artifacts / name).unlink()
    assert report(place, "--json") == 0
    absent = json.loads(capsys.readouterr().out)["absent"]
    assert set(absent) == {"Stage 1: prompts", "Stage 2: encoder", "frozen", "ranked"}
    page = (place.artifacts / "report.html").read_text()
    for command in (
        "train --stage prompts",
        "train --stage encoder",
        "extract --frozen &amp;&amp; ccaf-pipeline evaluate",
    ):
        assert f"<code>ccaf-pipeline {command}" in page


@pytest.mark.parametrize(("missing", "message"), [
    ("shards", "run ccaf-pipeline parse"),
    ("metrics.json", "run `ccaf-pipeline extract && ccaf-pipeline evaluate` first"),
])  # fmt: skip
def test_what_is_needed_is_named_with_its_command(place, capsys, missing, message):
    target = place.artifacts / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert report(place) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert not (place.artifacts / "report.html").exists()


@pytest.mark.parametrize(("option", "message"), [
    ("--shards", "no finished shards in nowhere"),
    ("--prompts", "no prompts checkpoint at nowhere: run `ccaf-pipeline train --stage prompts` first"),
    ("--encoder", "no encoder checkpoint at nowhere: run `ccaf-pipeline train --stage encoder` first"),
    ("--metrics", "no metrics at nowhere"),
    ("--frozen-metrics", "no metrics at nowhere: run `ccaf-pipeline extract --frozen && ccaf-pipeline evaluate"),
    ("--features", "feature file not found: nowhere"),
    ("--per-query", "no results of queries at nowhere: run `ccaf-pipeline evaluate --per-query nowhere`"),
])  # fmt: skip
def test_files_that_are_named_must_be_there(place, capsys, option, message):
    assert report(place, option, "nowhere") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_table_of_single_queries_gives_the_same_page(place, capsys):
    work("evaluate", "--params", str(place.params), "--per-query", "queries.parquet")
    assert report(place, "--quiet", "--out", "features.html") == 0
    (place.artifacts / "features.parquet").unlink()
    assert report(place, "--quiet", "--out", "queries.html", "--per-query", "queries.parquet") == 0
    pages = [(place.folder / name).read_text() for name in ("features.html", "queries.html")]
    galleries = [page.split('<section id="ranked">')[1].split("</section>")[0] for page in pages]
    assert galleries[0] == galleries[1]
    capsys.readouterr()
    assert report(place, "--per-query", "queries.parquet", "--features", "f.parquet") == 2
    assert capsys.readouterr().err == "error: give either --features or --per-query, not both\n"


def test_re_ranked_figures_are_shown(place):
    work("evaluate", "--params", str(place.params), "--rerank")
    assert report(place, "--quiet") == 0
    assert (place.artifacts / "report.html").read_text().count('<th scope="col">re-ranked</th>') == 3


def test_parts_that_do_not_belong_together_are_named(place, capsys):
    path = place.artifacts / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps({**metrics, "checkpoint_sha256": "0" * 64}))
    assert report(place) == 0
    assert "warning: The metrics are of another encoder" in capsys.readouterr().err
    assert "The metrics are of another encoder" in (place.artifacts / "report.html").read_text()


def test_artifacts_of_another_data_set_are_refused(place, capsys):
    path = place.artifacts / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dataset": "other"}))
    assert report(place) == 2
    assert "the metrics are of data set other" in capsys.readouterr().err


def test_the_recipe_gives_the_parameters_that_made_the_artifacts(place):
    work(
        "train", "--params", str(place.params), "--set", "encoder.epochs=1", "--set", "prompts.tokens=3", "--seed", "4"
    )
    for name in ("extract", "evaluate"):
        work(name, "--params", str(place.params))
    assert report(place, "--quiet") == 0
    page = (place.artifacts / "report.html").read_text()
    text = page.split("<summary>report-params.yaml</summary><pre>")[1].split("</pre>")[0]
    recipe = place.folder / "report-params.yaml"
    recipe.write_text(text)
    found, current = load_parameters(recipe), load_parameters(place.params)
    assert (found.encoder.epochs, found.prompts.tokens, found.seed) == (1, 3, 4)
    assert found.model == current.model
    assert found.data.dataset == current.data.dataset
    assert found.parse == current.parse
    assert "root" not in yaml.safe_load(text)["data"]


def commands_of(name, parameters, inputs):
    facts = load_facts(name)
    return make_recipe(parameters.model_dump(mode="json"), inputs, facts, Workspace.of(facts.name)).commands


def test_rendered_data_are_made_by_commands_too(place):
    inputs = Inputs(ShardReader(place.artifacts / "shards"), Metrics(Path(), {}, ()), *[Absent("", "")] * 4)
    model = ["model.pretrained=artifacts/clip/weights.safetensors"]
    commands = commands_of("walkers", load_parameters(None, [*model, "data.root=here"]), inputs)
    assert commands[:3] == (
        "ccaf-pipeline synth --out here --params report-params.yaml",
        "ccaf-pipeline pretrain-clip --data here/walkers-pretrain --out artifacts/clip --params report-params.yaml",
        "ccaf-pipeline parse --params report-params.yaml",
    )
    assert commands_of("walkers", load_parameters(None, ["data.root=/private/place"]), inputs)[0].startswith(
        "ccaf-pipeline synth --only walkers --out data "
    )
    others = commands_of("ltcc", load_parameters(None, [*model, "data.dataset=ltcc", "data.root=/private"]), inputs)
    assert others == commands_of("ltcc", load_parameters(None, ["data.dataset=ltcc"]), inputs)
    assert others[0] == "ccaf-pipeline parse --params report-params.yaml"


def test_weights_of_the_package_are_named_so_that_another_machine_has_them(place):
    inputs = Inputs(ShardReader(place.artifacts / "shards"), Metrics(Path(), {}, ()), *[Absent("", "")] * 4)
    name = "builtin:walker-clip"
    for value in (name, str(builtin_weights()[name])):
        parameters = load_parameters(None, [f"model.pretrained={json.dumps(value)}"])
        assert (
            recipe_parameters(parameters.model_dump(mode="json"), inputs, rendered=True)["model"]["pretrained"] == name
        )
        assert commands_of("walkers", parameters, inputs)[:2] == (
            "ccaf-pipeline synth --only walkers --out data --params report-params.yaml",
            "ccaf-pipeline parse --params report-params.yaml",
        )


def test_every_command_of_the_recipe_is_one_of_the_command_line(place):
    inputs = Inputs(ShardReader(place.artifacts / "shards"), Metrics(Path(), {}, ()), *[Absent("", "")] * 4)
    model = ["model.pretrained=artifacts/clip/weights.safetensors"]
    for command in commands_of("walkers", load_parameters(None, model), inputs):
        program, name, *options = shlex.split(command)
        assert program == "ccaf-pipeline"
        known = {option for parameter in get_group(app).commands[name].params for option in parameter.opts}
        assert {option for option in options if option.startswith("--")} <= known


@pytest.mark.parametrize("rerank", [(), ("--rerank",)])
def test_the_page_reads_whole_at_the_widths_of_screens(place, cut_parts, rerank):
    work("evaluate", "--params", str(place.params), *rerank)
    assert report(place, "--quiet") == 0
    page = place.artifacts / "report.html"
    assert ("re-ranked" in page.read_text()) == bool(rerank)
    for width in (1000, 1300, 1600):
        assert cut_parts(page, width) == []
