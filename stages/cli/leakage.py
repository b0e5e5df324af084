"""``ccaf-pipeline leakage``: what frozen test features tell of clothes and of the identity, with chance levels."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.columns import as_columns
from stages.cli.options import Context, beside_features, shared_options


@shared_options("dataset", "root", "shards", "seed")
def command(
    context: Context,
    features: Annotated[
        Path | None,
        typer.Option("--features", help="Feature file. Default: artifacts/<data set>/features.parquet."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file. Default: leakage*.json beside features*.parquet.")
    ] = None,
) -> None:
    """Measure leakage: linear probes of clothes and identity factors, and retrieval by garment, on test features.

    Walkers: the factors come from attributes.parquet of the data set. Other data sets have no factors: there the outfit
    is probed within each identity, from clothes ids. Every figure is in percent and stands beside its chance level.
    """
    from stages import leakage

    source = features or context.workspace.features
    target = out or beside_features(source, "leakage")
    result = leakage.run(context.parameters, context.console, source, target, context.shards)
    context.console.result(result, _as_text(result))


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


def _as_text(result: dict[str, Any]) -> str:
    """The figures in percent, aligned."""
    lines = [["percent", "found", "chance", "balanced", "chance", "n"]]
    for name, entry in _rows(result):
        found = entry["mAP"] if "mAP" in entry else entry["accuracy"]
        figures = [found, entry["chance"], entry.get("balanced_accuracy"), entry.get("balanced_chance")]
        lines.append([name, *("" if value is None else f"{value:.1f}" for value in figures), str(entry["n"])])
    return as_columns(lines)
