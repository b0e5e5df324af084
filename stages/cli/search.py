"""``ccaf-pipeline search``: the images of a gallery that are nearest to a photo."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError
from stages.cli.options import Context, FrozenOption, shared_options


@shared_options("dataset", "shards", "seed")
def command(
    context: Context,
    gallery: Annotated[
        Path,
        typer.Option("--gallery", metavar="FEATURES", help="Feature file of embed, extract or another model."),
    ],
    queries: Annotated[
        list[str],
        typer.Option(
            "--query",
            metavar="PHOTO",
            help="An image, a folder or table of images, a feature file, or an image_id of the gallery. Repeatable.",
        ),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", help="Encoder that made the gallery, for photos. Default: artifacts/<data set>/encoder."
        ),
    ] = None,
    frozen: FrozenOption = False,
    top: Annotated[int, typer.Option("--top", min=1, max=10_000, help="Images shown for each query.")] = 10,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Compare only these images: an SQL expression on the gallery's columns, such as "
            "\"camera_id != 3 and split = 'gallery'\".",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the pictures.")] = None,
    images: Annotated[
        str | None,
        typer.Option("--images", help="Folder of the gallery's images, for --html. Default: as the gallery says."),
    ] = None,
) -> None:
    """Find the images of a gallery that are nearest to a photo, by the cosine of their features.

    Every image is compared; the gallery is read in pieces, so that it may be larger than memory. Pictures on the page
    come from the gallery's paths or, with --shards, from shards. A nearest image is not a proof of identity.
    """
    from stages import search

    if frozen and checkpoint is not None:
        raise InputError(f"--frozen and --checkpoint {checkpoint}: give the one of the two that made the gallery")
    if images is not None and html is None:
        raise InputError(f"--images {images} is for the pictures of --html, which is not asked for")
    if images is not None and context.shards is not None:
        raise InputError(f"--images {images} and --shards {context.shards}: give the one where the pictures are")
    source = None if frozen else checkpoint or context.workspace.encoder
    named = frozen or checkpoint is not None
    how = search.How(queries, source, named, top, where, html, images, context.shards)
    result = search.run(context.parameters, context.console, gallery, how)
    context.console.result(result, search.result_table(result))
