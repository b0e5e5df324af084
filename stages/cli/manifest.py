"""``ccaf-pipeline manifest``: list and label a data set, count it beside the published numbers, write the table."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import WorkError
from stages.cli.options import Context, shared_options


@shared_options("dataset", "root")
def command(
    context: Context,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="Where the manifest goes.")],
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail, and write nothing, if a count differs from a verified published one, a name does not follow "
            "the layout, or something could not be read.",
        ),
    ] = False,
) -> None:
    """Write the manifest of a data set: one row per image with its split, person, camera, clothes and tracklet."""
    from stages import manifest

    listed = manifest.run(context.parameters, context.console, out, strict)
    if listed.refusal is None:
        context.say_next("parse", *([] if context.root is None else ["--root", str(context.root)]))
    context.console.result(listed.value, listed.text)
    if listed.refusal is not None:
        raise WorkError(listed.refusal)
