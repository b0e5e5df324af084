"""``ccaf-pipeline redress``: from the shards of any data set, a data set of people who change clothes."""

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pipeline.errors import InputError
from pipeline.garments import CLOTHES, REGIONS
from pipeline.redress.settings import KINDS
from stages.cli.options import Context, shared_options

WordT = TypeVar("WordT", bound=str)


def _known(
    given: list[str] | None, known: tuple[WordT, ...], default: tuple[WordT, ...], what: str
) -> tuple[WordT, ...]:
    """Words of an option, each once, in the order in which they are known.

    Raises:
        InputError: One is not known.
    """
    unknown = [word for word in given or () if word not in known]
    if unknown:
        raise InputError(f"{what} {unknown[0]}: there are {', '.join(known)}")
    return tuple(word for word in known if word in given) if given else default


@shared_options("dataset", "seed")
def command(
    context: Context,
    shards: Annotated[Path, typer.Option("--shards", help="Shards of parse, of any data set of people.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the new data set: images, table.csv, dataset.yaml, sheet.html.")
    ],
    outfits: Annotated[
        int, typer.Option("--outfits", min=2, max=1000, help="Outfits per person, the own clothes included.")
    ] = 3,
    pool: Annotated[int, typer.Option("--pool", min=1, max=100_000, help="Outfits that all people share.")] = 40,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--style", help=f"Styles of outfits: {', '.join(KINDS)}. Repeatable. Default: all.", show_default=False
        ),
    ] = None,
    garment: Annotated[
        list[str] | None,
        typer.Option(
            "--garment",
            help=f"Garments that change: {', '.join(REGIONS)}. Repeatable. Default: {', '.join(CLOTHES)}.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every image in all outfits of its person, not in one of them.")
    ] = False,
    images: Annotated[int, typer.Option("--images", min=1, max=500, help="People on the contact sheet.")] = 24,
) -> None:
    """Change the clothes of a data set's people: images, a table and a data set file, ready for parse.

    Each person gets outfits of a pool that all share, the own clothes stay one of them, and each image is worn in one.
    Persons, cameras and splits are as they were. The same shards, options and seed give the same files.
    """
    from pipeline.redress.dataset import RedressPlan
    from stages import redress

    plan = RedressPlan(
        outfits,
        pool,
        _known(kind, KINDS, KINDS, "--style"),
        _known(garment, REGIONS, CLOTHES, "--garment"),
        every,
        context.parameters.seed,
    )
    made = redress.run(context.console, shards, out, plan, images, context.dataset)
    context.console.result(
        made,
        f"{out}: {made['images']:,} images, {made['redressed']:,} of them redressed, of {made['identities']:,} people "
        f"in {made['clothes']:,} outfits",
    )
    context.say_next("manifest", "--root", str(out), "--check", dataset=str(made["dataset"]))
