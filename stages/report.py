"""``ccaf-pipeline report``: one self-contained HTML page about a data set's artifacts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.workspace import Workspace
from stages.options import (
    Context,
    DatasetOption,
    JsonOption,
    ParamsOption,
    QuietOption,
    SeedOption,
    SetOption,
    dataset_workspace,
    make_context,
)
from stages.report_recipe import make_recipe

if TYPE_CHECKING:
    from pipeline.features.feature_set import FeatureSet
    from pipeline.reporting.numbers import Absent, Metrics
    from pipeline.reporting.origin import Inputs
    from pipeline.reporting.page import Page
    from pipeline.reporting.runs import Run

TRAIN = "ccaf-pipeline train"
EXTRACT = "ccaf-pipeline extract"
EVALUATE = "ccaf-pipeline evaluate"


@dataclass(frozen=True)
class _Given:
    """Inputs that were named by options; None: the default place, and it may be absent unless the page needs it."""

    shards: Path | None
    prompts: Path | None
    encoder: Path | None
    metrics: Path | None
    frozen_metrics: Path | None
    features: Path | None
    per_query: Path | None


def command(
    shards: Annotated[
        Path | None, typer.Option("--shards", help="Shards of parse. Default: artifacts/<data set>/shards.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="Prompts checkpoint. Default: artifacts/<data set>/prompts.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option("--encoder", help="Encoder checkpoint. Default: artifacts/<data set>/encoder.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="Metrics. Default: artifacts/<data set>/metrics.json.")
    ] = None,
    frozen_metrics: Annotated[
        Path | None,
        typer.Option(
            "--frozen-metrics",
            help="Metrics of the CLIP before training. Default: artifacts/<data set>/metrics-frozen.json.",
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", help="Feature file, for the ranked galleries. Default: artifacts/<data set>/features.parquet."
        ),
    ] = None,
    per_query: Annotated[
        Path | None,
        typer.Option(
            "--per-query",
            help="Table of evaluate --per-query: the galleries are taken from it, nothing is ranked again.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The page. Default: artifacts/<data set>/report.html.")
    ] = None,
    dataset: DatasetOption = None,
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page: what ran, the numbers, loss curves, parsed images, ranked galleries.

    It needs shards and metrics. What else is missing is named on the page, with the command that makes it; a file that
    is named by an option must be there. The page loads nothing from elsewhere and may be sent as it is: mind that it
    shows images of the data set.
    """
    context = make_context(params, overrides, seed=seed, dataset=dataset, quiet=quiet, as_json=as_json)
    workspace = dataset_workspace(context)
    from pipeline import __version__
    from pipeline.datasets.catalog import load_facts
    from pipeline.reporting.page import write_page
    from pipeline.reporting.report import make_page

    facts = load_facts(context.parameters.data.dataset)
    given = _Given(shards, prompts, encoder, metrics, frozen_metrics, features, per_query)
    inputs, ranking = _read(context, workspace, given)
    settings = context.parameters.report
    page = make_page(
        inputs,
        ranking,
        title=facts.title,
        version=__version__,
        recipe=make_recipe(context.parameters, inputs, facts, workspace),
        no_person_ids=facts.no_person_ids,
        sheet_images=settings.sheet_images,
        ranked_queries=settings.ranked_queries,
        ranked_depth=settings.ranked_depth,
        seed=context.parameters.seed,
    )
    target = out or workspace.report
    size = write_page(page, target)
    for warning in page.warnings:
        context.console.say(f"warning: {warning}")
    context.console.say(f"report of {facts.name}, {size / 1e6:.1f} MB -> {target}\nopen it in a browser")
    context.console.result(_summary(page, target, size), f"{target}: {size:,} bytes")


def _run(given: Path | None, default: Path, kind: str) -> "Run | Absent":
    from pipeline.reporting.numbers import Absent
    from pipeline.reporting.runs import read_run

    made_by = f"{TRAIN} --stage {kind}"
    if given is None and not default.exists():
        return Absent(f"There is no {kind} checkpoint at {default}.", made_by)
    return read_run(given or default, kind, made_by)


def _frozen(given: Path | None, workspace: Workspace) -> "Metrics | Absent":
    from pipeline.reporting.numbers import Absent, read_metrics

    default = workspace.frozen_metrics
    features = workspace.frozen_features
    made_by = f"{EXTRACT} --frozen && {EVALUATE} --features {features} --out {default}"
    if given is None and not default.exists():
        return Absent(f"There are no metrics of the CLIP before training at {default}.", made_by)
    return read_metrics(given or default, made_by)


def _ranking(given: _Given, default: Path) -> "tuple[FeatureSet | Path | Absent, Mapping[str, str] | Absent]":
    """What the galleries are ranked by, and the metadata of the features, as far as there are any."""
    from pipeline.errors import InputError
    from pipeline.features.feature_set import read_features
    from pipeline.reporting.numbers import Absent

    if given.per_query is not None:
        if given.features is not None:
            raise InputError("give either --features or --per-query, not both")
        return given.per_query, {}
    if given.features is None and not default.exists():
        absent = Absent(f"There is no feature file at {default}.", EXTRACT)
        return absent, absent
    return read_features(given.features or default)


def _read(context: Context, workspace: Workspace, given: _Given) -> "tuple[Inputs, FeatureSet | Path | Absent]":
    """Read all inputs: those that the page needs, and the others as far as they are there.

    Raises:
        InputError: Shards or metrics are missing, a file that was named is missing, or one is damaged.
    """
    from pipeline.reporting.numbers import read_metrics
    from pipeline.reporting.origin import Inputs
    from pipeline.training.training_data import open_shards

    reader = open_shards(given.shards or workspace.shards, context.parameters.data.dataset)
    metrics = read_metrics(given.metrics or workspace.metrics, f"{EXTRACT} && {EVALUATE}")
    ranking, metadata = _ranking(given, workspace.features)
    inputs = Inputs(
        reader=reader,
        metrics=metrics,
        frozen=_frozen(given.frozen_metrics, workspace),
        prompts=_run(given.prompts, workspace.prompts, "prompts"),
        encoder=_run(given.encoder, workspace.encoder, "encoder"),
        features=metadata,
    )
    return inputs, ranking


def _summary(page: "Page", target: Path, size: int) -> dict[str, Any]:
    from pipeline.reporting.numbers import Absent

    ranked = page.ranked
    parts: dict[str, Any] = {"frozen": page.numbers.frozen, "ranked": ranked}
    parts |= {curves.title: curves.panels for curves in page.curves}
    return {
        "out": str(target),
        "bytes": size,
        "protocols": [table.score.name for table in page.numbers.protocols],
        "sheet_images": len(page.sheet.random) + len(page.sheet.unsure),
        "ranked_queries": 0 if isinstance(ranked, Absent) else len(ranked.random) + len(ranked.worst),
        "absent": {name: part.what for name, part in parts.items() if isinstance(part, Absent)},
        "warnings": list(page.warnings),
    }
