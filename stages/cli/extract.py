"""``ccaf-pipeline extract``: features of the query and gallery images, from a checkpoint or from the frozen CLIP."""

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import Context, shared_options


@shared_options("dataset", "seed")
def command(
    context: Context,
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
) -> None:
    """Write the features of a data set's images, for evaluate or for your own use.

    Only the raw image encoder is used: no mask and no text.
    """
    from stages import extract

    workspace = context.workspace
    target = out or (workspace.frozen_features if frozen else workspace.features)
    result = extract.run(
        context.parameters,
        context.console,
        shards or workspace.shards,
        None if frozen else checkpoint or workspace.encoder,
        target,
        roles,
    )
    context.console.result(result, f"{target}: {result['images']} rows")
    context.say_next("evaluate", "--features", str(target))
