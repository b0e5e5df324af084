"""The report stage: one self-contained HTML page about a data set's artifacts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.config import Parameters
from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.features.feature_set import FeatureSet, read_features
from pipeline.outputs import check_output
from pipeline.reporting.numbers import Absent, Metrics, read_metrics
from pipeline.reporting.origin import Inputs
from pipeline.reporting.page import GENERATOR, Page, write_page
from pipeline.reporting.recipe import make_recipe
from pipeline.reporting.report import make_page
from pipeline.reporting.runs import Run, read_run
from pipeline.shards.dataset import open_shards
from pipeline.workspace import Workspace
from stages.console import Console

TRAIN = "ccaf-pipeline train"
EXTRACT = "ccaf-pipeline extract"
EVALUATE = "ccaf-pipeline evaluate"


@dataclass(frozen=True)
class Given:
    """Inputs that were named by options; None: the default place, and it may be absent unless the page needs it."""

    shards: Path | None = None
    prompts: Path | None = None
    encoder: Path | None = None
    metrics: Path | None = None
    frozen_metrics: Path | None = None
    features: Path | None = None
    per_query: Path | None = None


def run(
    parameters: Parameters, console: Console, workspace: Workspace, given: Given, out: Path | None = None
) -> dict[str, Any]:
    """Write the page; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        workspace: Where what was not named is looked for.
        given: What was named.
        out: The page; None: the workspace's place.

    Raises:
        InputError: Shards or metrics are missing, a file that was named is missing, or one is damaged.
    """
    target = out or workspace.report
    check_output(target, "html", [GENERATOR])
    facts, inputs, ranking = _read(parameters, workspace, given)
    page = make_page(
        inputs,
        ranking,
        title=facts.title,
        version=__version__,
        recipe=make_recipe(parameters.model_dump(mode="json"), inputs, facts, workspace),
        no_person_ids=facts.no_person_ids,
        settings=parameters.report,
        seed=parameters.seed,
    )
    size = write_page(page, target)
    for warning in page.warnings:
        console.say(f"warning: {warning}")
    console.say(f"report of {facts.name}, {size / 1e6:.1f} MB -> {target}")
    return _summary(page, target, size)


def _run(given: Path | None, default: Path, kind: str) -> Run | Absent:
    made_by = f"{TRAIN} --stage {kind}"
    if given is None and not default.exists():
        return Absent(f"There is no {kind} checkpoint at {default}.", made_by)
    return read_run(given or default, kind, made_by)


def _frozen(given: Path | None, workspace: Workspace) -> Metrics | Absent:
    default = workspace.frozen_metrics
    features = workspace.frozen_features
    made_by = f"{EXTRACT} --frozen && {EVALUATE} --features {features} --out {default}"
    if given is None and not default.exists():
        return Absent(f"There are no metrics of the CLIP before training at {default}.", made_by)
    return read_metrics(given or default, made_by)


def _ranking(given: Given, default: Path) -> tuple[FeatureSet | Path | Absent, Mapping[str, str] | Absent]:
    """What the galleries are ranked by, and the metadata of the features, as far as there are any."""
    if given.per_query is not None:
        if given.features is not None:
            raise InputError("give either --features or --per-query, not both")
        return given.per_query, {}
    if given.features is None and not default.exists():
        absent = Absent(f"There is no feature file at {default}.", EXTRACT)
        return absent, absent
    return read_features(given.features or default)


def _read(
    parameters: Parameters, workspace: Workspace, given: Given
) -> tuple[DatasetFacts, Inputs, FeatureSet | Path | Absent]:
    """Read all inputs: those that the page needs, and the others as far as they are there.

    Raises:
        InputError: Shards or metrics are missing, a file that was named is missing, or one is damaged.
    """
    reader, facts = open_shards(given.shards or workspace.shards, parameters.data.dataset)
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
    return facts, inputs, ranking


def _summary(page: Page, target: Path, size: int) -> dict[str, Any]:
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
