"""The inspect stage: one self-contained HTML page that shows whether the masks can be trusted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.outputs import check_output
from pipeline.progress import Progress
from pipeline.reporting.comparison import Comparison, compare_shards
from pipeline.reporting.inspection import Inspection, Selection, inspect_shards
from pipeline.reporting.matched_shards import match_shards
from pipeline.reporting.page import GENERATOR, write_page
from pipeline.shards.dataset import find_facts
from pipeline.shards.reader import ShardReader
from stages.console import Console

TEMPLATE = "inspect.html.j2"
PAGE_NAME = "inspect.html"
COMPARE_TEMPLATE = "compare.html.j2"
COMPARE_NAME = "compare.html"


@dataclass(frozen=True)
class Inspected:
    """The page as it was written: itself, and a summary of it for programs."""

    page: Inspection
    summary: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """The page about two parsers as it was written: itself, and a summary of it for programs."""

    page: Comparison
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
    target = _target(reader, out, PAGE_NAME)
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


def compare(
    console: Console,
    folders: tuple[Path, Path],
    out: Path | None = None,
    *,
    selection: Selection | None = None,
    images: int = 24,
    seed: int = 0,
) -> Compared:
    """Write the page that compares two parses of the same images.

    Args:
        console: For remarks.
        folders: Of the shards of either parser, local or URIs.
        out: The page; None: ``compare.html`` beside the first shards, or here if they are remote.
        selection: Which images it is about; None: all.
        images: Images on each of the two sheets.
        seed: Of the random sheet.

    Raises:
        InputError: There are no shards, they are not of the same images, or nothing is selected.
    """
    readers = ShardReader(folders[0], copy=False), ShardReader(folders[1], copy=False)
    target = _target(readers[0], out, COMPARE_NAME)
    matched = match_shards(readers, selection or Selection())
    with Progress(len(matched), "compare", "image", quiet=console.quiet) as progress:
        page = compare_shards(
            matched,
            title=_title(readers[0]),
            version=__version__,
            images=images,
            seed=seed,
            advance=progress.advance,
        )
    size = write_page(page, target, COMPARE_TEMPLATE)
    console.say(f"{len(page.worst) + len(page.random)} images of both, {size / 1e6:.1f} MB -> {target}")
    origins = {name: _origin(reader) for name, reader in zip(("first", "second"), readers, strict=True)}
    summary = {
        "out": str(target),
        "bytes": size,
        "dataset": readers[0].metadata.dataset,
        **origins,
        "selection": page.selection,
        **page.summary,
    }
    return Compared(page, summary)


def _target(reader: ShardReader, out: Path | None, name: str) -> Path:
    """Where the page goes: as told, else beside local shards, else here."""
    beside = reader.folder.local
    target = out or (Path(name) if beside is None else beside.absolute().parent / name)
    check_output(target, "html", [GENERATOR])
    return target


def _origin(reader: ShardReader) -> dict[str, Any]:
    made = reader.metadata
    return {
        "shards": str(reader.folder),
        "parser": made.parser,
        "weights_sha256": made.weights_sha256,
        "label_scheme": made.label_scheme,
        "clothes_labels": list(made.clothes_labels),
    }


def _title(reader: ShardReader) -> str:
    """The data set's title where it is one of the known or its facts are remembered, else its name."""
    name = reader.metadata.dataset
    try:
        return find_facts(name, reader.folder).title
    except InputError:
        return name


def _summary(page: Inspection, reader: ShardReader, target: Path, size: int) -> dict[str, Any]:
    origin = _origin(reader)
    del origin["shards"]
    return {
        "out": str(target),
        "bytes": size,
        "dataset": reader.metadata.dataset,
        **origin,
        "selection": page.selection,
        "worst": [item.card.image_id for item in page.worst],
        "random": [item.card.image_id for item in page.random],
        "redressed": [item.card.image_id for item in page.redressed.images],
        "quarantine": {tally.name: tally.count for tally in page.quarantine},
        **page.summary.as_dict(),
    }
