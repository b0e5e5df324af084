"""The manifest of a data set: listed, labelled, counted beside the published numbers, written as one table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.datasets.catalog import DatasetListing, dataset_folder, load_facts, read_dataset
from pipeline.datasets.counts import compare_counts, counts_as_json, counts_as_text, differences
from pipeline.datasets.manifest import write_manifest
from pipeline.errors import InputError
from pipeline.outputs import check_output
from stages.console import Console
from stages.preflight import check_listing

SHOWN_NAMES = 10


@dataclass(frozen=True)
class Listed:
    """What was found.

    Attributes:
        value: For programs.
        text: For people.
        refusal: Why nothing was written; None: the manifest was written.
    """

    value: dict[str, Any]
    text: str
    refusal: str | None


def check(parameters: Parameters, console: Console) -> dict[str, Any]:
    """List a data set, write nothing, and refuse it if training or evaluation would; returns what was looked at.

    Raises:
        InputError: The data set or its folder is wrong, or its labels do not allow what the parameters ask for.
    """
    facts = load_facts(parameters.data.dataset)
    listing = read_dataset(facts, dataset_folder(facts, parameters.data.root, os.environ))
    obstacles = check_listing(parameters, facts, listing.manifest, listing.folder)
    found = [*obstacles.training, *obstacles.evaluation]
    for sentence in (*found[1:], *obstacles.remarks):
        console.say(f"warning: {sentence}")
    if found:
        raise InputError(found[0])
    return {"dataset": facts.name, "folder": str(listing.folder), "images": listing.manifest.num_rows}


def run(parameters: Parameters, console: Console, out: Path, strict: bool = False) -> Listed:
    """List a data set, write its manifest, and warn of what training or evaluation will be refused for.

    Args:
        parameters: ``data`` says which data set, and where it lies.
        console: For remarks.
        out: Parquet file to write.
        strict: Write nothing if the data set is not as published.

    Raises:
        InputError: The data set or its folder is wrong.
    """
    check_output(out, "parquet", ["image_id", "path", "split"])
    data = parameters.data
    facts = load_facts(data.dataset)
    listing = read_dataset(facts, dataset_folder(facts, data.root, os.environ))
    rows = compare_counts(listing.manifest, facts)
    differing = differences(rows)
    _warn(console, listing, differing)
    obstacles = check_listing(parameters, facts, listing.manifest, listing.folder)
    for what, sentences in (("train", obstacles.training), ("evaluate", obstacles.evaluation)):
        for sentence in sentences:
            console.say(f"warning: ccaf-pipeline {what} will be refused: {sentence}")
    for remark in obstacles.remarks:
        console.say(f"warning: {remark}")
    refusal = None
    if strict and (differing or listing.unmatched or listing.problems):
        refusal = (
            f"{facts.title} is not as published: {len(differing)} counts differ, {len(listing.unmatched)} names do not "
            f"follow the layout, {len(listing.problems)} other problems; nothing was written (--strict)"
        )
    else:
        write_manifest(listing.manifest, out)
        console.say(f"manifest of {listing.manifest.num_rows:,} images -> {out}")
    value = {
        "dataset": facts.name,
        "folder": str(listing.folder),
        "out": str(out) if refusal is None else None,
        "counts": counts_as_json(rows),
        "differences": differing,
        "unmatched": len(listing.unmatched),
        "unmatched_names": list(listing.unmatched),
        "other_files": len(listing.others),
        "problems": list(listing.problems),
        "obstacles": {"training": list(obstacles.training), "evaluation": list(obstacles.evaluation)},
    }
    return Listed(value, f"{facts.title} in {listing.folder}\n{counts_as_text(rows)}", refusal)


def _warn(console: Console, listing: DatasetListing, differing: Sequence[str]) -> None:
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
