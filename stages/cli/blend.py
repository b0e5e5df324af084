"""``ccaf-pipeline blend``: a trained encoder with a share of the CLIP that it began as."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import CheckpointOption, Context, shared_options


@shared_options("dataset")
def command(
    context: Context,
    checkpoint: CheckpointOption = None,
    trained_share: Annotated[
        float | None,
        typer.Option(
            "--trained-share",
            help="Share of the trained weights in the average with those before training. Default: the parameter "
            "blend.trained_share.",
        ),
    ] = None,
    clip_weight: Annotated[
        float | None,
        typer.Option(
            "--clip-weight",
            help="Weight of the similarity by the CLIP's own features, beside 1 for the trained ones. Default: the "
            "parameter blend.clip_weight.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the checkpoint. Default: artifacts/<data set>/blended.")
    ] = None,
) -> None:
    """Write a checkpoint between a trained encoder and the CLIP before training; nothing is trained.

    What training won where people change clothes costs where they do not. A small weight of the CLIP's own features
    gives most of that back. The result is used as any encoder: --checkpoint of extract, embed, search and export.
    """
    from stages import blend

    given = {"trained_share": trained_share, "clip_weight": clip_weight}
    options = [f"blend.{name}={value}" for name, value in given.items() if value is not None]
    context = replace(context, overrides=[*(context.overrides or []), *options])
    target = out or context.workspace.blended
    result = blend.run(context.parameters, context.console, checkpoint or context.workspace.encoder, target)
    context.console.result(
        result,
        f"{target}: trained share {result['trained_share']:g}, weight of CLIP's own features {result['clip_weight']:g}",
    )
    features = target.with_name(f"features-{target.name}.parquet")
    context.say_next("extract", "--score", "--checkpoint", str(target), "--out", str(features))
