"""``ccaf-pipeline oracle``: features made of what is true of rendered images, for the ceiling and the floor."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import Context, shared_options


class Kind(StrEnum):
    """What the features say; see ``pipeline/datasets/walkers/oracle.py``."""

    IDENTITY = "identity"
    VISIBLE = "visible"
    CLOTHES = "clothes"


@shared_options("dataset", "root")
def command(
    context: Context,
    kind: Annotated[
        Kind,
        typer.Option(
            "--kind",
            help="identity: all of the person, the ceiling; visible: the named factors that the image shows; "
            "clothes: the outfit alone, the floor.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="Where the features go.")],
) -> None:
    """Write features that are made of what is true of each rendered image; score them with evaluate and leakage."""
    from stages import oracle

    result = oracle.run(context.parameters, context.console, kind.value, out)
    context.say_next("evaluate", "--features", str(out))
    context.console.result(result, f"{out}: {result['images']} rows")
