"""``ccaf-pipeline embed``: features of images that are in no shards."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError
from stages.cli.options import CheckpointOption, Context, FrozenOption, MaxBadOption, shared_options


@shared_options("dataset", "seed", "address")
def command(
    context: Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Folders, image files, patterns such as 'crops/**/*.jpg', a .txt file with a path a line, or a table: "
            ".csv or .parquet with paths, a manifest, or Parquet with image bytes. Local, or URIs.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE.parquet", help="Feature file. Beside it, FILE.quarantine.parquet."),
    ],
    checkpoint: CheckpointOption = None,
    frozen: FrozenOption = False,
    images: Annotated[
        str | None,
        typer.Option("--images", help="Folder that the paths of a table or list are relative to. Default: its own."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="OURS=NAME",
            help="Name of a table's column, such as path=file. Ours: path, image (bytes), image_id, role, split, "
            "person_id, camera_id, clothes_id, tracklet_id. Repeatable.",
        ),
    ] = None,
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--role", help="Role to extract: train, val, query, gallery, or as a table says. Repeatable. Default: all."
        ),
    ] = None,
    default_role: Annotated[
        str, typer.Option("--as", metavar="ROLE", help="Role of images that have none: query or gallery.")
    ] = "gallery",
    max_bad: MaxBadOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            help="Worker processes of Ray. 0: as many as there is room for. Default: without --address, no Ray.",
        ),
    ] = None,
) -> None:
    """Write the features of images that were not parsed, for search, evaluate or your own use.

    No mask is needed. Labels of a table are kept. An image that cannot be used goes to the quarantine table with the
    reason; all others have one row each, in the order given. A run that was stopped goes on from its complete parts.
    With --workers or --address the features are made by workers of Ray, on one machine or many, with the same bytes.
    """
    from pipeline.ray_address import Cluster
    from stages import embed

    if frozen and checkpoint is not None:
        raise InputError(
            f"--frozen and --checkpoint {checkpoint}: give one of the two, for features are of the CLIP before any "
            "training or of a checkpoint"
        )
    if max_bad is not None:
        context = replace(context, overrides=[*(context.overrides or []), f"parse.max_bad={max_bad}"])
    named = embed.Inputs(inputs, images, _pairs(columns or []), default_role, roles or [])
    source = None if frozen else checkpoint or context.workspace.encoder
    on_ray = workers is not None or context.address is not None
    cluster = Cluster(workers or 0, context.cluster_address) if on_ray else None
    result = embed.run(context.parameters, context.console, named, source, out, cluster)
    context.console.result(result, f"{out}: {result['images']} rows, {result['quarantined']} quarantined")
    embed.check_bad(context.parameters, result)
    encoder = ["--frozen"] if frozen else [] if checkpoint is None else ["--checkpoint", str(checkpoint)]
    context.say_next("search", "--gallery", str(out), *encoder, "--query", "PHOTO")


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """``OURS=NAME`` as a mapping.

    Raises:
        InputError: There is no ``=``, or a name stands twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not equals or not theirs or ours in pairs:
            raise InputError(f"--column {text}: give each column once, as OURS=NAME, such as path=file")
        pairs[ours] = theirs
    return pairs
