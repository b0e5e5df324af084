"""``ccaf-pipeline inspect``: one self-contained HTML page that shows whether the masks can be trusted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import InputError
from stages.options import (
    DatasetOption,
    JsonOption,
    ParamsOption,
    QuietOption,
    SeedOption,
    SetOption,
    dataset_workspace,
    make_context,
)

if TYPE_CHECKING:
    from pipeline.reporting.inspection import Inspection
    from pipeline.shards.reader import ShardReader

TEMPLATE = "inspect.html.j2"


def command(
    shards: Annotated[
        Path | None, typer.Argument(help="Shards of parse. Default: artifacts/<data set>/shards.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page. Default: inspect.html beside the shards, or here if they are remote."),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=1, max=500, help="Images on each of the two sheets: worst first, random.")
    ] = 24,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Only images of this split. Repeatable.", show_default=False)
    ] = None,
    camera: Annotated[
        list[int] | None, typer.Option("--camera", help="Only images by this camera. Repeatable.", show_default=False)
    ] = None,
    flag: Annotated[
        list[str] | None, typer.Option("--flag", help="Only images with this flag. Repeatable.", show_default=False)
    ] = None,
    dataset: DatasetOption = None,
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page about parsed images: what made the masks, distributions, flags, and sheets to look at.

    The page loads nothing from elsewhere. Mind that it shows images of the data set.
    """
    context = make_context(params, overrides, seed=seed, dataset=dataset, quiet=quiet, as_json=as_json)
    if shards is not None and dataset is not None:
        raise InputError(f"give either the folder {shards} or --dataset: the shards say which data set they are of")

    from pipeline import __version__
    from pipeline.reporting.inspection import Selection, inspect_shards
    from pipeline.reporting.page import write_page
    from pipeline.shards.reader import ShardReader

    if shards is None:
        workspace = dataset_workspace(context)
        reader, default = ShardReader(workspace.shards, copy=False), workspace.inspection
    else:
        reader = ShardReader(shards, copy=False)
        beside = reader.folder.local
        default = Path("inspect.html") if beside is None else beside.absolute().parent / "inspect.html"
    page = inspect_shards(
        reader,
        title=_title(reader),
        version=__version__,
        selection=Selection(tuple(split or ()), tuple(camera or ()), tuple(flag or ())),
        images=images,
        seed=context.parameters.seed,
    )
    target = out or default
    size = write_page(page, target, TEMPLATE)
    context.console.say(
        f"{len(page.worst) + len(page.random)} images of {reader.folder}, {size / 1e6:.1f} MB -> {target}"
    )
    context.console.say("open it in a browser")
    context.console.result(_summary(page, reader, target, size), _as_text(page))


def _title(reader: "ShardReader") -> str:
    """The data set's title where it is one of the known, else its name."""
    from pipeline.datasets.catalog import load_facts

    name = reader.metadata.dataset
    try:
        return load_facts(name).title
    except InputError:
        return name


def _summary(page: "Inspection", reader: "ShardReader", target: Path, size: int) -> dict[str, Any]:
    made = reader.metadata
    return {
        "out": str(target),
        "bytes": size,
        "dataset": made.dataset,
        "parser": made.parser,
        "weights_sha256": made.weights_sha256,
        "label_scheme": made.label_scheme,
        "clothes_labels": list(made.clothes_labels),
        "selection": page.selection,
        "worst": [item.card.image_id for item in page.worst],
        "random": [item.card.image_id for item in page.random],
        "quarantine": {tally.name: tally.count for tally in page.quarantine},
        **page.summary.as_dict(),
    }


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
