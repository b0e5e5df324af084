"""``ccaf-pipeline pretrain-clip``: trains a small CLIP on captioned walkers, writes weights that open_clip loads."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.workspace import ARTIFACTS, RenderedPart
from stages.cli.options import Context, shared_options


@shared_options("seed")
def command(
    context: Context,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder of pretrain.parquet, written by synth. Default: walkers-pretrain in the folder of data sets.",
            show_default=False,
        ),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos",
            help="Clothing Co-Parsing: photos/, labels/ and label_list.json; or others in its layout. Default: none.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Checkpoint folder to write.")] = ARTIFACTS / "clip",
    zero_unseen: Annotated[
        bool,
        typer.Option(
            "--zero-unseen",
            help="Write zeros for words that no caption has, not random numbers: the file packs to a sixth.",
        ),
    ] = False,
) -> None:
    """Train the CLIP that model.name describes on captioned walkers; model.pretrained is not read.

    It starts from random weights, or with pretrain.image_start: imagenet its image tower from ImageNet's.

    Interrupted training goes on from its last state when the same command is run again.
    """
    from stages import pretrain_clip
    from stages.synth import default_root

    data = data or default_root(context.parameters) / RenderedPart.PRETRAIN
    result = pretrain_clip.run(context.parameters, context.console, data, out, zero_unseen, photos)
    lines = [
        f"{name}: {score['accuracy']:.1f} % of phrases right (most frequent value: {score['chance']:.1f} %)"
        for name, score in result["zero_shot"].items()
    ]
    context.console.result(result, "\n".join([*lines, f"{result['weights']}: loss {result['loss']:.4f}"]))
    context.say_next("parse")
