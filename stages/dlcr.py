"""The dlcr stage: strips of generated variants and the data set that they are of become one data set."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.catalog import dataset_folder, load_facts, read_dataset
from pipeline.errors import InputError
from pipeline.files import atomic_folder
from pipeline.locks import hold
from pipeline.outputs import check_writable
from pipeline.ownership import refuse_foreign
from pipeline.progress import Progress
from pipeline.redress.strips import (
    FACTS_NAME,
    cut_strips,
    find_naming,
    write_facts,
    write_record,
    write_table,
    written_files,
)
from stages.console import Console

SHOWN = 3


def run(console: Console, dataset: str, root: str | None, generated: Path, out: Path, variants: int) -> dict[str, Any]:
    """Cut the strips of a data set's training pictures; returns counts.

    Args:
        console: For remarks.
        dataset: Name or file of the data set that the strips are of.
        root: Folder that holds the data sets; None: as the environment says.
        generated: Folder of the strips.
        out: Folder of the new data set; an earlier one of this command is replaced when the new one is complete.
        variants: How many variants of each picture are taken.

    Raises:
        InputError: The data set or the strips are not there, or the folder holds other files.
        DiskError: The disk is full.
    """
    out = out.absolute()  # the data set has the folder's name
    check_writable(out)
    if not generated.is_dir():
        raise InputError(f"there is no folder {generated} of strips")
    facts = load_facts(dataset)
    listing = read_dataset(facts, dataset_folder(facts, root, os.environ))
    train = facts.roles.get("train", ())
    chosen = pc.is_in(listing.manifest["split"], pa.array(train, pa.string()))
    paths = listing.manifest.filter(chosen)["path"].to_pylist()
    if not paths:
        raise InputError(f"{facts.title} in {listing.folder} has no training images, which strips would be of")
    naming = find_naming(generated, listing.folder, paths)
    with hold(out):
        if out.is_dir():
            refuse_foreign(out, written_files(out))
        threads = len(os.sched_getaffinity(0))
        with (
            atomic_folder(out, written_files) as folder,
            Progress(len(paths), "cut strips", "image", quiet=console.quiet) as progress,
        ):
            cuts = list(
                cut_strips(folder, generated, naming, paths, variants, threads=threads, advance=progress.advance)
            )
            counts = write_table(folder, listing.folder, listing.manifest, train, cuts)
            write_facts(folder, out, facts)
            write_record(folder, facts, variants, counts, cuts)
    without = [cut for cut in cuts if cut.problem is not None]
    if without:
        shown = "; ".join(f"{cut.source}: {cut.problem}" for cut in without[:SHOWN])
        console.say(f"warning: {len(without):,} of {len(cuts):,} training pictures have no variants, such as {shown}")
    return {"out": str(out), "dataset": str(out / FACTS_NAME), **counts}
