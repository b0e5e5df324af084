"""The redress stage: from the shards of any data set, a data set of people who change clothes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.files import atomic_folder
from pipeline.locks import hold
from pipeline.outputs import check_writable
from pipeline.progress import Progress
from pipeline.redress.dataset import (
    FACTS_NAME,
    NOTICE,
    SHEET_NAME,
    RedressPlan,
    check_place,
    useful_rows,
    write_facts,
    write_images,
    write_record,
    write_table,
    written_files,
)
from pipeline.redress.outfits import Outfit
from pipeline.redress.pool import make_pool
from pipeline.redress.regions import RegionTable, region_table, say_unchanged
from pipeline.redress.wardrobes import OWN, check_wardrobe, deal_outfits, persons_only, wardrobes
from pipeline.reporting.page import write_page
from pipeline.reporting.redressed import RedressedPage, redressed_sheet
from pipeline.shards.dataset import open_shards
from pipeline.shards.reader import ShardReader
from pipeline.shards.record import read_record
from stages.console import Console

TEMPLATE = "redress.html.j2"
_SEED_SHEET = 32
_MOST_SHOWN = 8
"""Outfits of one person on the sheet."""


def run(
    console: Console, shards: Path, out: Path, plan: RedressPlan, images: int = 24, dataset: str | None = None
) -> dict[str, Any]:
    """Make the data set; returns its counts.

    Args:
        console: For remarks.
        shards: Of parse.
        out: Folder of the data set; an earlier one of this command is replaced when the new one is complete.
        plan: Who wears what.
        images: People on the sheet.
        dataset: Name or file of the data set that the shards are of; None: as they say.

    Raises:
        InputError: There are no shards, they know no garments, the pool is too small, or the folder holds other files.
        DiskError: The disk is full.
    """
    out = out.absolute()  # the data set has the folder's name
    check_writable(out)
    check_wardrobe(plan.outfits, plan.pool)
    with hold(out):
        check_place(out)
        reader, source = open_shards(shards, dataset or read_record(shards).dataset)
        table = region_table(reader.metadata.labels, plan.regions)
        if warning := say_unchanged(reader.metadata.clothes_labels):
            console.say(warning)
        rows = useful_rows(reader, source)
        nobody = source.no_person_ids
        worn = deal_outfits(reader.ids, rows, plan.outfits, plan.pool, plan.seed, plan.every, nobody)
        rows = persons_only(reader.ids, rows, nobody)
        pool = make_pool(plan.kinds, plan.pool, plan.seed, reader, rows, table)
        threads = len(os.sched_getaffinity(0))
        with (
            atomic_folder(out, written_files) as folder,
            Progress(len(worn), "redress", "image", quiet=console.quiet) as progress,
        ):
            paths, really = write_images(folder, reader, worn, pool, table, threads=threads, advance=progress.advance)
            counts = write_table(folder, reader, paths, really, plan.every, nobody)
            write_facts(folder, out, source, reader, counts)
            _write_sheet(folder / SHEET_NAME, reader, rows, plan, pool, table, f"{source.title}, redressed", images)
            write_record(folder, reader, plan, counts)
    console.say(f"{NOTICE} Look at them: {out / SHEET_NAME}")
    return {"out": str(out), "dataset": str(out / FACTS_NAME), "seed": plan.seed, **counts}


def _write_sheet(
    path: Path,
    reader: ShardReader,
    rows: NDArray[np.int64],
    plan: RedressPlan,
    pool: list[Outfit],
    table: RegionTable,
    title: str,
    images: int,
) -> None:
    """The contact sheet: some people, one image each, in all their outfits."""
    persons = reader.ids.person_id[rows]
    wardrobe = wardrobes(persons, plan.outfits, plan.pool, plan.seed)
    generator = np.random.default_rng([plan.seed, _SEED_SHEET])
    people = np.unique(persons)
    chosen = np.sort(generator.choice(people, size=min(images, len(people)), replace=False))
    shown = [int(generator.choice(rows[persons == person])) for person in chosen]

    def outfits(row: int) -> list[tuple[str, Outfit]]:
        own = wardrobe[int(reader.ids.person_id[row])]
        return [(f"outfit {number}", pool[number]) for number in own if number != OWN][:_MOST_SHOWN]

    facts = (
        ("source", f"{reader.metadata.dataset}, parser {reader.metadata.parser}"),
        ("outfits", f"{plan.outfits} per person, of a pool of {plan.pool} ({', '.join(plan.kinds)})"),
        ("garments", ", ".join(plan.regions)),
        ("seed", str(plan.seed)),
    )
    write_page(RedressedPage(title, __version__, facts, redressed_sheet(reader, shown, outfits, table)), path, TEMPLATE)
