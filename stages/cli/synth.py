"""``ccaf-pipeline synth``: renders walkers, the embedded data set, and the captioned images for CLIP pre-training."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.workspace import RenderedPart
from stages.cli.options import Context, shared_options

NEXT = {
    RenderedPart.PRETRAIN: "ccaf-pipeline pretrain-clip",
    RenderedPart.WALKERS: "ccaf-pipeline manifest --dataset walkers",
}
"""What is usually run after a part."""


@shared_options("seed")
def command(
    context: Context,
    only: Annotated[
        RenderedPart | None,
        typer.Option(
            "--only",
            help="Render one of the two: walkers, the data set, or walkers-pretrain, the people for pretrain-clip. "
            "Default: both.",
            show_default=False,
        ),
    ] = None,
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
        typer.Option("--workers", min=1, help="Rendering processes. Default: one per core.", show_default=False),
    ] = None,
) -> None:
    """Render walkers: pedestrians who change clothes, with exact label maps; the same seed gives the same files.

    Beside the data set, in walkers-pretrain, come captioned images of other people, from which pretrain-clip trains a
    small CLIP. Weights made so are in the package (model.pretrained: builtin:walker-clip), so that most need only
    --only walkers.
    """
    from stages import synth

    root = out or synth.default_root(context.parameters)
    rendered = synth.run(context.parameters, context.console, root, only, workers)
    result: dict[str, Any] = {"seed": context.parameters.seed}
    for part, counts in rendered.items():
        result |= {key: value for key, value in counts.items() if key != "folder"}
        result[part.replace("-", "_")] = counts["folder"]
    lines = [f"{counts['folder']}: {_describe(part, counts)}" for part, counts in rendered.items()]
    context.console.result(result, "\n".join(lines))
    context.console.say("next: " + ", or ".join(text for part, text in NEXT.items() if part in rendered))


def _describe(part: RenderedPart, counts: dict[str, Any]) -> str:
    if part is RenderedPart.PRETRAIN:
        return f"{counts['pretrain']} captioned images of as many other people"
    return (
        f"{counts['train']} training images of {counts['train_identities']} people, "
        f"{counts['query']} queries and {counts['gallery']} gallery images of {counts['test_identities']} others, "
        f"{counts['outfits']} outfits"
    )
