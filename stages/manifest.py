"""``ccaf-pipeline manifest``: list and label a data set, count it beside the published numbers, write the table."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import WorkError
from stages.console import Console
from stages.options import (
    DatasetOption,
    JsonOption,
    ParamsOption,
    QuietOption,
    RootOption,
    SetOption,
    make_context,
)

if TYPE_CHECKING:
    from pipeline.datasets.catalog import DatasetListing

SHOWN_NAMES = 10


def command(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="Where the manifest goes.")],
    dataset: DatasetOption = None,
    root: RootOption = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail, and write nothing, if a count differs from a verified published one, a name does not follow "
            "the layout, or something could not be read.",
        ),
    ] = False,
    params: ParamsOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the manifest of a data set: one row an image with its split, person, camera, clothes and tracklet."""
    context = make_context(params, overrides, dataset=dataset, root=root, quiet=quiet, as_json=as_json)
    from pipeline.datasets.catalog import dataset_folder, load_facts, read_dataset
    from pipeline.datasets.counts import compare_counts, counts_as_json, counts_as_text, differences
    from pipeline.datasets.manifest import write_manifest

    data = context.parameters.data
    facts = load_facts(data.dataset)
    listing = read_dataset(facts, dataset_folder(facts, data.root, os.environ))
    rows = compare_counts(listing.manifest, facts)
    differing = differences(rows)
    _warn(context.console, listing, differing)
    wrong = bool(differing or listing.unmatched or listing.problems)
    refused = strict and wrong
    if not refused:
        write_manifest(listing.manifest, out)
        context.console.say(f"manifest of {listing.manifest.num_rows:,} images -> {out}")
        context.say_next("parse", *([] if root is None else ["--root", str(root)]))
    value = {
        "dataset": facts.name,
        "folder": str(listing.folder),
        "out": None if refused else str(out),
        "counts": counts_as_json(rows),
        "differences": differing,
        "unmatched": len(listing.unmatched),
        "unmatched_names": list(listing.unmatched),
        "other_files": len(listing.others),
        "problems": list(listing.problems),
    }
    context.console.result(value, f"{facts.title} in {listing.folder}\n{counts_as_text(rows)}")
    if refused:
        raise WorkError(
            f"{facts.title} is not as published: {len(differing)} counts differ, {len(listing.unmatched)} names do not "
            f"follow the layout, {len(listing.problems)} other problems; nothing was written (--strict)"
        )


def _warn(console: Console, listing: "DatasetListing", differing: Sequence[str]) -> None:
    """Say everything that a person should look at."""
    for problem in listing.problems:
        console.say(f"warning: {problem}")
    for difference in differing:
        console.say(f"warning: {difference}")
    if listing.unmatched:
        shown = _shown(listing.unmatched, SHOWN_NAMES)
        console.say(f"warning: {len(listing.unmatched)} names do not follow the layout and were left out: {shown}")
        console.say(f"  expected: {listing.facts.layout}")
    if listing.others:
        console.say(f"{len(listing.others)} other files are left alone: {_shown(listing.others, 3)}")
    for column, texts in listing.label_names.items():
        console.say(f"{column}: {len(texts)} texts were numbered from 0 in sorted order: {_shown(texts, 3)}")


def _shown(names: Sequence[str], limit: int) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
