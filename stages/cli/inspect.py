"""``ccaf-pipeline inspect``: one self-contained HTML page that shows whether the masks can be trusted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import InputError
from stages.cli.options import Context, shared_options

if TYPE_CHECKING:
    from pipeline.reporting.comparison import Comparison
    from pipeline.reporting.inspection import Inspection


@shared_options("dataset", "seed")
def command(
    context: Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[SHARDS]", help="The same as --shards.", show_default=False)
    ] = None,
    other: Annotated[
        Path | None,
        typer.Argument(
            metavar="[OTHER]",
            help="Shards of the same images by another parser: the page then compares the two.",
            show_default=False,
        ),
    ] = None,
    shards: Annotated[
        Path | None, typer.Option("--shards", help="Shards of parse. Default: artifacts/<data set>/shards.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The page. Default: inspect.html (of two parsers compare.html) beside the shards, or here if they are "
            "remote.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=1, max=500, help="Images on each of the two sheets: worst first, random.")
    ] = 24,
    redress: Annotated[
        int,
        typer.Option(
            "--redress", min=0, max=500, help="Images on a third sheet: people in other clothes, which shows bad masks."
        ),
    ] = 0,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Only images of this split. Repeatable.", show_default=False)
    ] = None,
    camera: Annotated[
        list[int] | None, typer.Option("--camera", help="Only images by this camera. Repeatable.", show_default=False)
    ] = None,
    flag: Annotated[
        list[str] | None, typer.Option("--flag", help="Only images with this flag. Repeatable.", show_default=False)
    ] = None,
) -> None:
    """Write one HTML page about parsed images: what made the masks, distributions, flags, and sheets to look at.

    With two folders, of the same images by two parsers, the page compares them instead: how far they agree, and side by
    side where they agree least. The page loads nothing from elsewhere. Mind that it shows images of the data set.
    """
    if other is not None:
        if shards is not None or context.dataset is not None:
            raise InputError("to compare two parsers give their two shard folders, without --shards and --dataset")
        if redress:
            raise InputError("--redress goes with one shard folder")
    if folder is not None and shards is not None:
        raise InputError(f"give the shards once: {folder} or --shards {shards}")
    shards = shards or folder
    if shards is not None and context.dataset is not None:
        raise InputError(f"give either the folder {shards} or --dataset: the shards say which data set they are of")
    from pipeline.reporting.inspection import Selection
    from stages import inspect

    chosen = Selection(tuple(split or ()), tuple(camera or ()), tuple(flag or ()))
    if folder is not None and other is not None:
        compared = inspect.compare(
            context.console, (folder, other), out, selection=chosen, images=images, seed=context.parameters.seed
        )
        context.console.say("open it in a browser")
        context.console.result(compared.summary, _compared(compared.page))
        return
    inspected = inspect.run(
        context.console,
        shards or context.workspace.shards,
        out or (context.workspace.inspection if shards is None else None),
        selection=chosen,
        images=images,
        redressed=redress,
        seed=context.parameters.seed,
    )
    context.console.say("open it in a browser")
    context.console.result(inspected.summary, _as_text(inspected.page))


def _as_text(page: "Inspection") -> str:
    whole = page.summary.whole
    flags = ", ".join(f"{flag} {count}" for flag, count in whole.flags.items() if count)
    figures = [
        f"{name:<11} median {value.median:.3f}, 90% of the images {value.low:.3f} to {value.high:.3f}"
        for name, value in (
            ("clothes", whole.clothes_fraction), ("person", whole.person_fraction), ("confidence", whole.confidence)
        )
    ]  # fmt: skip
    return "\n".join([f"{whole.images:,} images, {whole.flagged:,} flagged ({flags or 'none'})", *figures])


def _compared(page: "Comparison") -> str:
    found = page.summary
    labels = [f"{label.name:<16} {'-' if label.iou != label.iou else f'{label.iou:.3f}'}" for label in page.labels]
    return "\n".join(
        [
            f"{'label':<16} IoU of the two", *labels,
            f"{'clothes mask':<16} {found['clothes_iou'] or 0:.3f} (median of the images: "
            f"{found['median_image_iou']:.3f})",
            f"{found['images']:,} images, {found['images_below_half']:,} with a clothes IoU below 0.5",
        ]
    )  # fmt: skip
