"""``ccaf-pipeline evaluate``: scores features under named protocols and writes metrics.json."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

if TYPE_CHECKING:
    from pipeline.evaluation.features import FeatureSet
    from pipeline.evaluation.protocols import Protocol

COLUMNS = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")


def _read(features: Path | None, query: Path | None, gallery: Path | None) -> "tuple[FeatureSet, dict[str, str]]":
    from pipeline.errors import InputError
    from pipeline.evaluation.features import concatenate, read_features

    if features is not None and (query or gallery):
        raise InputError("give either --features, or --query and --gallery, not both")
    if features is not None:
        return read_features(features)
    if query is None or gallery is None:
        raise InputError("give --features FILE, or both --query FILE and --gallery FILE")
    queries, metadata = read_features(query, role="query")
    return concatenate([queries, read_features(gallery, role="gallery")[0]]), metadata


def _protocols(context: Context, names: list[str] | None, dataset: str | None, items: "FeatureSet") -> "list[Protocol]":
    """The protocols asked for; else the parameters'; else the data set's; else those that the ids allow."""
    from pipeline.datasets.catalog import load_facts
    from pipeline.errors import InputError
    from pipeline.evaluation.protocols import find_protocols

    facts = load_facts(dataset) if dataset is not None else None
    chosen = names or context.parameters.evaluate.protocols
    if facts is not None:
        chosen = chosen or list(facts.protocols)
        for name in chosen:
            if not any(name == known or name.startswith(f"{known}:") for known in facts.protocols):
                raise InputError(
                    f"data set {facts.name} does not define the protocol {name}; "
                    f"it defines: {', '.join(facts.protocols)}"
                )
    has_clothes = bool((items.clothes_id >= 0).all())
    chosen = chosen or ["general", *(["cc", "sc"] if has_clothes else [])]
    return [protocol for name in dict.fromkeys(chosen) for protocol in find_protocols(name)]


def _table(entries: list[dict[str, Any]]) -> str:
    header = f"{'protocol':24}" + "".join(f"{name:>8}" for name in COLUMNS) + "   queries (skipped)   gallery"
    lines = [header]
    for entry in entries:
        figures = "".join(f"{entry[name]:8.1f}" for name in COLUMNS)
        counts = f"{entry['n_query']:8d} ({entry['n_skipped']})"
        lines.append(f"{entry['name']:24}{figures}{counts:>20}{entry['n_gallery']:10d}")
    return "\n".join(lines)


def command(
    features: Annotated[
        Path | None,
        typer.Option("--features", help="Feature file. Default: artifacts/<data set>/features.parquet."),
    ] = None,
    query: Annotated[Path | None, typer.Option("--query", help="Feature file of the queries alone.")] = None,
    gallery: Annotated[Path | None, typer.Option("--gallery", help="Feature file of the gallery alone.")] = None,
    train_features: Annotated[
        Path | None,
        typer.Option("--train-features", help="Feature file of the training images: warns of shared identities."),
    ] = None,
    protocols: Annotated[
        list[str] | None,
        typer.Option("--protocol", help="Protocol, such as cc. Repeatable. Default: those of the data set."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Metrics file. Default: metrics.json beside the feature file.")
    ] = None,
    dataset: DatasetOption = None,
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score features: CMC, mAP and mINP in percent, with 95% bootstrap intervals over query identities.

    Any model's features can be scored: a Parquet file with the columns feature, role (query, gallery), person_id, and
    optionally image_id, camera_id, clothes_id, tracklet_id.
    """
    context = make_context(params, overrides, seed=seed, dataset=dataset, quiet=quiet, as_json=as_json)
    if features is None and query is None and gallery is None:
        workspace = dataset_workspace(context)
        features = workspace.features
        dataset = context.parameters.data.dataset
    from pipeline.device import set_threads
    from pipeline.evaluation.checks import check_shared_images, swapped_warning, training_identities_warning
    from pipeline.evaluation.metrics import evaluate
    from pipeline.files import write_json

    set_threads(context.parameters.threads)
    items, metadata = _read(features, query, gallery)
    train = _read(train_features, None, None)[0] if train_features is not None else items.with_role("train")
    warnings = [training_identities_warning(items, train)] if len(train) else []
    entries = []
    for protocol in _protocols(context, protocols, dataset, items):
        check_shared_images(items, protocol)
        entry, _ = evaluate(items, protocol, context.parameters.evaluate.bootstrap, context.parameters.seed)
        warnings.append(swapped_warning(entry))
        entries.append(entry)
    problems = [warning for warning in warnings if warning]
    result = {
        "dataset": metadata.get("dataset"),
        "checkpoint_sha256": metadata.get("checkpoint_sha256"),
        "protocols": {entry["name"]: entry for entry in entries},
        "warnings": problems,
    }
    target = out or (features or query or Path()).with_name("metrics.json")
    write_json(target, result)
    for problem in problems:
        context.console.say(f"warning: {problem}")
    context.console.result(result, _table(entries))
    context.console.say(f"metrics -> {target}\nnext: ccaf-pipeline report")
