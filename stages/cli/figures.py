"""``ccaf-pipeline figures``: the paper's pictures of one or two checkpoints, with their numbers."""

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import Context, shared_options

NOBODY = "none"
FROZEN = "frozen"


@shared_options("dataset", "shards", "seed")
def command(
    context: Context,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            help="Encoder checkpoint, or frozen: the CLIP of the parameters. Default: artifacts/<data set>/encoder.",
        ),
    ] = None,
    against: Annotated[
        str, typer.Option("--against", help="What it is compared with: another checkpoint, frozen, or none.")
    ] = FROZEN,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="Prompts checkpoint. Default: artifacts/<data set>/prompts, if it is there."),
    ] = None,
    against_prompts: Annotated[
        Path | None, typer.Option("--against-prompts", help="Prompts checkpoint that it is compared with.")
    ] = None,
    figures: Annotated[
        list[str] | None,
        typer.Option(
            "--figure",
            help="prompt-distances, feature-distances, tsne, ranked, or maps. Repeatable. Default: all.",
            show_default=False,
        ),
    ] = None,
    identities: Annotated[
        list[int] | None,
        typer.Option("--identity", help="Person id on the map. Repeatable. Default: those with the most images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the figures. Default: artifacts/<data set>/figures.")
    ] = None,
) -> None:
    """Draw the paper's figures of a checkpoint beside another: one HTML page, its numbers, each picture as a file.

    Distances of prompts and images (Figure 5), distances of test features (Figure 6), a map of some identities
    (Figure 7), ranked lists (Figure 8), and attention and gradient maps with the share that falls on clothes. The page
    loads nothing from elsewhere; mind that it shows images of the data set.
    """
    from stages import figures as recipe

    workspace = context.workspace
    asked = recipe.Asked(
        checkpoint=workspace.encoder if checkpoint is None else _place(checkpoint),
        against=None if against == NOBODY else _place(against),
        prompts=prompts,
        against_prompts=against_prompts,
        figures=tuple(figures or ()),
        identities=tuple(identities or ()),
    )
    summary = recipe.run(
        context.parameters,
        context.console,
        workspace,
        asked,
        context.shards or workspace.shards,
        out or workspace.figures,
    )
    context.console.say("open it in a browser")
    context.console.result(summary, f"{summary['page']}: {', '.join(summary['figures'])}")


def _place(text: str) -> Path:
    """A checkpoint's folder; the word stands for the CLIP, and ``./frozen`` for a folder of that name."""
    path = Path(text)
    return path.absolute() if text != FROZEN and path == Path(FROZEN) else path
