"""``ccaf-pipeline manifest``: list and label a data set, count it beside the published numbers, write the table."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError, WorkError
from stages.cli.options import Context, shared_options


@shared_options("dataset", "root")
def command(
    context: Context,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.parquet", help="Where the manifest goes.", show_default=False)
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail, and write nothing, if a count differs from a verified published one, a name does not follow "
            "the layout, or something could not be read.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing: only check that the labels allow what the parameters of training and evaluation ask "
            "for; exit code 2 if they do not.",
        ),
    ] = False,
) -> None:
    """Write the manifest of a data set: one row per image with its split, person, camera, clothes and tracklet.

    What training and evaluation will need of the labels is checked too: identities for a batch, outfits and cameras
    where a parameter asks for them, a good gallery image under each protocol, and no query in the gallery under a
    protocol that would rank it.
    """
    from pipeline.datasets.catalog import load_facts
    from stages import manifest

    if check:
        if out is not None or strict:
            raise InputError("--check writes nothing: leave --out and --strict out")
        looked_at = manifest.check(context.parameters, context.console)
        context.console.result(
            looked_at, f"{looked_at['images']:,} images of {looked_at['dataset']}: training and evaluation can begin"
        )
        return
    if out is None:
        load_facts(context.parameters.data.dataset)  # that there is no such data set comes first
        raise InputError("say by --out where the manifest goes, or give --check to write none")
    listed = manifest.run(context.parameters, context.console, out, strict)
    if listed.refusal is None:
        context.say_next("parse", *([] if context.root is None else ["--root", str(context.root)]))
    context.console.result(listed.value, listed.text)
    if listed.refusal is not None:
        raise WorkError(listed.refusal)
