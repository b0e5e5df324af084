"""``ccaf-pipeline extract``: features of the query and gallery images, from a checkpoint or from the frozen CLIP."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config import Parameters
from stages.console import Console
from stages.options import (
    DatasetOption,
    JsonOption,
    ParamsOption,
    QuietOption,
    SeedOption,
    SetOption,
    dataset_workspace,
    make_context,
)

DEFAULT_ROLES = ["query", "gallery"]


def command(
    shards: Annotated[
        Path | None, typer.Option("--shards", help="Shards of parse. Default: artifacts/<data set>/shards.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Encoder checkpoint. Default: artifacts/<data set>/encoder.")
    ] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Use the CLIP of the parameters as it is, before any training.")
    ] = False,
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--role", help="Role to extract: train, val, query, gallery. Repeatable. Default: query, gallery."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Feature file. Default: artifacts/<data set>/features.parquet (features-frozen)."),
    ] = None,
    dataset: DatasetOption = None,
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the features of a data set's images, for evaluate or for your own use.

    Only the raw image encoder is used: no mask and no text.
    """
    context = make_context(params, overrides, seed=seed, dataset=dataset, quiet=quiet, as_json=as_json)
    workspace = dataset_workspace(context)
    target = out or (workspace.frozen_features if frozen else workspace.features)
    result = run(
        context.parameters,
        context.console,
        shards or workspace.shards,
        None if frozen else checkpoint or workspace.encoder,
        target,
        roles,
    )
    context.console.result(result, f"{target}: {result['images']} rows")
    context.say_next("evaluate", "--features", str(target))


def run(
    parameters: Parameters,
    console: Console,
    shards: Path,
    checkpoint: Path | None,
    out: Path,
    roles: list[str] | None = None,
) -> dict[str, Any]:
    """Encode the images of some roles and write the feature file; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        shards: Of the parsed data set.
        checkpoint: The encoder; None: the CLIP of the parameters, before any training.
        out: Feature file to write.
        roles: Of the images; None: query and gallery.

    Raises:
        InputError: The shards, the checkpoint, a role or a parameter is wrong.
        WorkError: Memory does not suffice.
    """
    from pipeline.arithmetic import arithmetic
    from pipeline.device import choose_device, set_threads
    from pipeline.evaluation.features import write_features
    from stages.device_use import fitting_features
    from stages.encoder_choice import frozen_encoder, raw_store, retrieval_features, trained_encoder
    from stages.feature_rows import feature_rows, feature_table
    from stages.training_data import open_shards

    settings = parameters.evaluate
    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    reader = open_shards(shards, parameters.data.dataset)
    rows = feature_rows(reader, parameters.data.dataset, roles or DEFAULT_ROLES)
    chosen = frozen_encoder(parameters) if checkpoint is None else trained_encoder(checkpoint)
    store = raw_store(chosen, parameters, reader, rows.index, console.quiet)
    with arithmetic(device), fitting_features(parameters, device):
        features = retrieval_features(chosen, parameters, reader, rows.index, store, device, console.quiet)
    metadata = {
        "checkpoint_sha256": chosen.sha256,
        "dataset": reader.metadata.dataset,
        "shards_sha256": reader.record_sha256,
        "feature": settings.feature,
        "flip": json.dumps(settings.flip),
    }
    write_features(out, feature_table(reader, rows, features), metadata)
    console.say(f"features of {len(features)} images, {features.shape[1]} numbers each -> {out}")
    return {"images": len(features), "dimension": features.shape[1], "out": str(out)}
