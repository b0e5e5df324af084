"""``ccaf-pipeline leakage``: what frozen test features tell of clothes and of the identity, with chance levels."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.config import Parameters
from stages.console import Console
from stages.options import (
    DatasetOption,
    JsonOption,
    ParamsOption,
    QuietOption,
    RootOption,
    SeedOption,
    SetOption,
    dataset_workspace,
    make_context,
)

if TYPE_CHECKING:
    from pipeline.datasets.catalog import DatasetFacts
    from pipeline.evaluation.leakage.measure import Factors
    from pipeline.features.feature_set import FeatureSet

WALKERS_READER = "walkers"
HEADLINE = "upper_colour"
GARMENTS = {
    "upper_colour": ("upper_colour",),
    "upper_garment": ("upper_colour", "upper_type"),
    "lower_garment": ("lower_colour", "lower_type"),
}


def _walkers_factors(items: "FeatureSet", facts: "DatasetFacts", root: str | None, features: Path) -> "Factors":
    from pipeline.datasets.catalog import dataset_folder
    from pipeline.datasets.walkers.attributes import factor_values, find_rows, read_attributes
    from pipeline.datasets.walkers.factors import FACTORS
    from pipeline.evaluation.leakage.measure import Factors

    table = read_attributes(dataset_folder(facts, root, os.environ))
    ids = {"person_id": items.person_id, "clothes_id": items.clothes_id}
    values = factor_values(table, find_rows(table, items.image_id, ids, str(features)))
    return Factors(
        clothes={name: values[name] for name, factor in FACTORS.items() if factor.of_clothes},
        identity={name: values[name] for name, factor in FACTORS.items() if not factor.of_clothes},
        headline=HEADLINE,
        garments=GARMENTS,
    )


def run(parameters: Parameters, console: Console, features: Path, out: Path) -> dict[str, Any]:
    """Measure leakage and write it to ``out`` as JSON; returns what was written.

    Args:
        parameters: ``data`` says the data set and where it lies, ``leakage`` how to probe, ``seed`` the folds.
        console: For remarks.
        features: Feature file with test images.
        out: JSON file.

    Raises:
        InputError: The features are of another data set or rendering, or nothing can be measured.
        WorkError: A regression did not reach its minimum.
    """
    import numpy as np

    from pipeline.datasets.catalog import load_facts
    from pipeline.device import set_threads
    from pipeline.errors import InputError
    from pipeline.evaluation.leakage.measure import measure_leakage, tested_items
    from pipeline.features.feature_set import CHECKPOINT_KEY, read_features
    from pipeline.files import write_json

    settings = parameters.leakage
    set_threads(parameters.threads)
    facts = load_facts(parameters.data.dataset)
    items, metadata = read_features(features)
    named = metadata.get("dataset")
    if named not in (None, facts.name):
        raise InputError(f"the features in {features} are of the data set {named}, not of {facts.name}: set --dataset")
    items = tested_items(items.take(~np.isin(items.person_id, facts.no_person_ids)))
    factors = None
    if facts.reader == WALKERS_READER:
        factors = _walkers_factors(items, facts, parameters.data.root, features)
    measured = measure_leakage(
        items,
        factors,
        folds=settings.folds,
        l2=settings.penalty,
        limit=settings.images_per_outfit,
        seed=parameters.seed,
    )
    result = {
        "dataset": facts.name,
        CHECKPOINT_KEY: metadata.get(CHECKPOINT_KEY),
        "oracle": metadata.get("oracle"),
        "seed": parameters.seed,
        "parameters": settings.model_dump(mode="json"),
        **measured,
    }
    write_json(out, result)
    for name, reason in measured["left_out"].items():
        console.say(f"warning: {name} was left out: {reason}")
    console.say(f"leakage -> {out}")
    return result


def _rows(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and figures of each line of the table."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for kind, scores in result.get("probes", {}).items():
        rows += [(f"{kind}: {name}", score) for name, score in scores.items()]
        if kind in result["headline"]:
            rows.append((f"{kind}: mean", result["headline"][kind]))
    rows += [(f"others in the same {name} (mAP)", entry) for name, entry in result.get("retrieval", {}).items()]
    if "within_identity" in result:
        rows.append(("outfit within identity", result["within_identity"]))
        for scheme in ("other_cameras", "same_cameras"):
            if scheme in result["within_identity"]:
                rows.append((f"  {scheme.replace('_', ' ')}", result["within_identity"][scheme]))
    return rows


def as_text(result: dict[str, Any]) -> str:
    """The figures in percent, aligned."""
    from pipeline.datasets.counts import as_columns

    lines = [["percent", "found", "chance", "balanced", "chance", "n"]]
    for name, entry in _rows(result):
        found = entry["mAP"] if "mAP" in entry else entry["accuracy"]
        figures = [found, entry["chance"], entry.get("balanced_accuracy"), entry.get("balanced_chance")]
        lines.append([name, *("" if value is None else f"{value:.1f}" for value in figures), str(entry["n"])])
    return as_columns(lines)


def _default_target(features: Path) -> Path:
    """``features-frozen.parquet`` -> ``leakage-frozen.json``; a file of another name -> ``leakage.json``."""
    name = features.stem.replace("features", "leakage", 1) if features.stem.startswith("features") else "leakage"
    return features.with_name(f"{name}.json")


def command(
    features: Annotated[
        Path | None,
        typer.Option("--features", help="Feature file. Default: artifacts/<data set>/features.parquet."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file. Default: leakage*.json beside features*.parquet.")
    ] = None,
    dataset: DatasetOption = None,
    root: RootOption = None,
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure leakage: linear probes of clothes and identity factors, and retrieval by garment, on test features.

    Walkers: the factors come from attributes.parquet of the data set. Other data sets have no factors: there the outfit
    is probed within each identity, from clothes ids. Every figure is in percent and stands beside its chance level.
    """
    context = make_context(params, overrides, seed=seed, dataset=dataset, root=root, quiet=quiet, as_json=as_json)
    source = features or dataset_workspace(context).features
    result = run(context.parameters, context.console, source, out or _default_target(source))
    context.console.result(result, as_text(result))
