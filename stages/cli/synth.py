"""``ccaf-pipeline synth``: renders walkers, the embedded data set, and the captioned images for CLIP pre-training."""

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import Context, shared_options


@shared_options("seed")
def command(
    context: Context,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of data sets to write into. Default: data.root, else $CCAF_DATA, else data.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Rendering processes. Default: one a core.", show_default=False),
    ] = None,
) -> None:
    """Render walkers: pedestrians who change clothes, with exact label maps; the same seed gives the same files."""
    from stages import synth

    counts = synth.run(context.parameters, context.console, out or synth.default_root(context.parameters), workers)
    text = "\n".join(
        [
            f"{counts['walkers']}: {counts['train']} training images of {counts['train_identities']} people, "
            f"{counts['query']} queries and {counts['gallery']} gallery images of {counts['test_identities']} others, "
            f"{counts['outfits']} outfits",
            f"{counts['walkers_pretrain']}: {counts['pretrain']} captioned images of as many other people",
        ]
    )
    context.console.result(counts, text)
    context.console.say("next: ccaf-pipeline pretrain-clip, or ccaf-pipeline manifest --dataset walkers")
