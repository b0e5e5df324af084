"""``ccaf-pipeline dlcr``: a data set and the variants in generated clothes that DLCR has of it, as one data set."""

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import Context, shared_options


@shared_options("dataset", "root")
def command(
    context: Context,
    generated: Annotated[
        Path,
        typer.Option(
            "--generated", help="Folder of DLCR's strips for this data set: its training folders, with .png in them."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new data set: images, table.csv, dataset.yaml.")],
    variants: Annotated[
        int, typer.Option("--variants", min=1, max=10, help="Variants per training picture, of the ten there are.")
    ] = 10,
) -> None:
    """Cut DLCR's strips into images and put them beside the data set that they are of, ready for parse.

    DLCR has ten variants of each training picture in one PNG, side by side. The new data set has the pictures where
    they are and the variants as further training images of the same persons; validation and test are as they were.
    """
    from stages import dlcr

    made = dlcr.run(
        context.console, context.parameters.data.dataset, context.parameters.data.root, generated, out, variants
    )
    context.console.say(f"next: ccaf-pipeline parse --dataset {made['dataset']} --root {out.absolute().parent}")
    context.console.result(
        made,
        f"{out}: {made['images']:,} images, {made['generated']:,} of them generated, of "
        f"{made['pictures_with_variants']:,} training pictures",
    )
