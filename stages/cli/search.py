"""``ccaf-pipeline search``: the images of a gallery that are nearest to a photo."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError
from stages.cli.options import Context, FrozenOption, shared_options

DEFAULT_PORT = 8765


@shared_options("dataset", "shards", "seed")
def command(
    context: Context,
    gallery: Annotated[
        Path,
        typer.Option("--gallery", metavar="FEATURES", help="Feature file of embed, extract or another model."),
    ],
    queries: Annotated[
        list[str] | None,
        typer.Option(
            "--query",
            metavar="PHOTO",
            help="An image, a folder or table of images, a feature file, or an image_id of the gallery. Repeatable.",
        ),
    ] = None,
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
        typer.Option("--images", help="Folder of the gallery's images, for pictures. Default: as the gallery says."),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Search from a browser: a page on 127.0.0.1 until Ctrl-C. Needs the extra serve."),
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port of --serve. 0: any free one. Default: 8765.")
    ] = None,
) -> None:
    """Find the images of a gallery that are nearest to a photo, by the cosine of their features.

    Every image is compared; the gallery is read in pieces, so that it may be larger than memory. Pictures on the page
    come from the gallery's paths or, with --shards, from shards. A nearest image is not a proof of identity. With
    --serve the same is done from a browser of this machine.
    """
    if frozen and checkpoint is not None:
        raise InputError(f"--frozen and --checkpoint {checkpoint}: give the one of the two that made the gallery")
    if images is not None and html is None and not serve:
        raise InputError(f"--images {images} is for the pictures of --html or --serve, which are not asked for")
    if images is not None and context.shards is not None:
        raise InputError(f"--images {images} and --shards {context.shards}: give the one where the pictures are")
    source = None if frozen else checkpoint or context.workspace.encoder
    named = frozen or checkpoint is not None
    if serve:
        _refuse_beside_serve(queries, html)
        from pipeline.serving.packages import check_packages

        check_packages()
        from stages import serve as serving

        page = serving.Serving(
            source, named, DEFAULT_PORT if port is None else port, top, where, images, context.shards
        )
        serving.run(context.parameters, context.console, gallery, page)
        return
    if port is not None:
        raise InputError(f"--port {port} is for --serve, which is not asked for")
    if not queries:
        raise InputError("nothing to search for: name it by --query, or open a page by --serve")
    from stages import search

    how = search.How(queries, source, named, top, where, html, images, context.shards)
    result = search.run(context.parameters, context.console, gallery, how)
    context.console.result(result, search.result_table(result))


def _refuse_beside_serve(queries: list[str] | None, html: Path | None) -> None:
    """Refuse options of a search that is asked for on the command line.

    Raises:
        InputError: One was given.
    """
    if queries:
        raise InputError(f"--query {queries[0]} and --serve: what is searched for is chosen on the page")
    if html is not None:
        raise InputError(f"--html {html} and --serve: give one of the two")
