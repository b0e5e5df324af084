"""The inspect stage: one self-contained HTML page that shows whether the masks can be trusted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.outputs import check_output
from pipeline.reporting.inspection import Inspection, Selection, inspect_shards
from pipeline.reporting.page import GENERATOR, write_page
from pipeline.shards.dataset import find_facts
from pipeline.shards.reader import ShardReader
from stages.console import Console

TEMPLATE = "inspect.html.j2"
PAGE_NAME = "inspect.html"


@dataclass(frozen=True)
class Inspected:
    """The page as it was written: itself, and a summary of it for programs."""

    page: Inspection
    summary: dict[str, Any]


def run(
    console: Console,
    shards: Path,
    out: Path | None = None,
    *,
    selection: Selection | None = None,
    images: int = 24,
    redressed: int = 0,
    seed: int = 0,
) -> Inspected:
    """Write the page.

    Args:
        console: For remarks.
        shards: Folder of the shards, local or a URI.
        out: The page; None: ``inspect.html`` beside the shards, or here if they are remote.
        selection: Which images it is about; None: all.
        images: Images on each of the two sheets.
        redressed: Images on the sheet of people in other clothes; 0: no such sheet.
        seed: Of the random sheets.

    Raises:
        InputError: There are no shards, nothing is selected, or clothes are wanted changed and no label is a garment.
    """
    reader = ShardReader(shards, copy=False)
    beside = reader.folder.local
    target = out or (Path(PAGE_NAME) if beside is None else beside.absolute().parent / PAGE_NAME)
    check_output(target, "html", [GENERATOR])
    page = inspect_shards(
        reader,
        title=_title(reader),
        version=__version__,
        selection=selection or Selection((), (), ()),
        images=images,
        redressed=redressed,
        seed=seed,
    )
    size = write_page(page, target, TEMPLATE)
    console.say(f"{len(page.worst) + len(page.random)} images of {reader.folder}, {size / 1e6:.1f} MB -> {target}")
    return Inspected(page, _summary(page, reader, target, size))


def _title(reader: ShardReader) -> str:
    """The data set's title where it is one of the known or its facts are remembered, else its name."""
    name = reader.metadata.dataset
    try:
        return find_facts(name, reader.folder).title
    except InputError:
        return name


def _summary(page: Inspection, reader: ShardReader, target: Path, size: int) -> dict[str, Any]:
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
        "redressed": [item.card.image_id for item in page.redressed.images],
        "quarantine": {tally.name: tally.count for tally in page.quarantine},
        **page.summary.as_dict(),
    }
