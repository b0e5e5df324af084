"""The parse stage without its command line: which images, with which settings, and what is too many bad ones."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.config import Parameters
from pipeline.config.program import program_digest
from pipeline.datasets.catalog import DatasetFacts, dataset_folder, load_facts, read_dataset
from pipeline.datasets.manifest import read_manifest
from pipeline.datasets.neighbours import check_level
from pipeline.datasets.tracklets import sample_frames
from pipeline.errors import InputError, WorkError
from pipeline.location import Location, locate
from pipeline.shards.making.job import JobResult, run_job
from pipeline.shards.making.plan import limit_manifest
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import ShardSettings
from pipeline.storage import is_folder
from stages.console import Console

LOOKED_FOR = 20
"""Images of a manifest that are looked for in the folder that was given for them."""


@dataclass(frozen=True)
class Source:
    """What is parsed: the data set's facts, its manifest, and the folder that paths are relative to."""

    facts: DatasetFacts
    manifest: pa.Table
    folder: Location


def run(parameters: Parameters, console: Console, out: Path, workers: int, overwrite: bool = False) -> JobResult:
    """Parse the data set of the parameters into shards, as the command does.

    Args:
        parameters: All of them.
        console: For remarks.
        out: Folder for the shards.
        workers: Worker processes; 0: as many as there is room for.
        overwrite: Replace shards of other content.

    Raises:
        InputError: The data set, the parser or a parameter is wrong; or ``out`` holds shards of other content.
        WorkError: A worker could not do its work, or too many images are bad.
    """
    source = read_images(parameters, console, None, None, None)
    how = run_settings(parameters, workers, 0, None)
    result = parse_source(console, source, parameters.parse, how, locate(out), overwrite)
    check_bad(parameters, result)
    return result


def run_settings(
    parameters: Parameters, workers: int, threads: int, address: str | None, most_workers: int = 0
) -> RunSettings:
    """How the parameters and the options say that it runs."""
    threads = threads or parameters.threads or 1
    return RunSettings(address, workers, parameters.device, threads, parameters.parse, most_workers)


def parse_source(
    console: Console,
    source: Source,
    settings: ShardSettings,
    how: RunSettings,
    place: Location,
    overwrite: bool,
) -> JobResult:
    """Make the shards, and say first what of."""
    where = f"Ray at {how.address}" if how.address else "a local Ray"
    images = f"{source.manifest.num_rows:,} images of {source.facts.name} in {source.folder}"
    console.say(f"{images}, parser {settings.parser}, on {where}")
    return run_job(
        dataset=source.facts.name,
        manifest=source.manifest,
        images=source.folder,
        out=place,
        settings=settings,
        run=how,
        overwrite=overwrite,
        quiet=console.quiet,
        say=console.say,
        facts=source.facts,
        program=program_digest("shards", settings.parser),
    )


def read_images(
    parameters: Parameters, console: Console, manifest: str | None, images: str | None, limit: int | None
) -> Source:
    """List the images, or read the manifest that was given.

    Raises:
        InputError: The data set, its folder or the manifest is wrong.
    """
    data = parameters.data
    facts = load_facts(data.dataset)
    if manifest is not None:
        table = read_manifest(manifest)
        folder = locate(images or dataset_folder(facts, data.root, os.environ))
        if not is_folder(folder):
            raise InputError(f"there is no folder {folder} with the images of {locate(manifest)}; name it by --images")
        if folder.local is not None:
            check_level(folder.local, table["path"].slice(0, LOOKED_FOR).to_pylist())
    else:
        local = dataset_folder(facts, data.root, os.environ)
        folder = locate(local)
        listing = read_dataset(facts, local)
        table = listing.manifest
        notes = [*listing.problems]
        if listing.unmatched:
            notes.append(f"{len(listing.unmatched)} names do not follow the layout and were left out")
        for note in notes:
            console.say(f"warning: {note} (ccaf-pipeline manifest tells more)")
    table = sample_frames(table, data.frames_per_tracklet)
    return Source(facts, table if limit is None else limit_manifest(table, limit), folder)


def check_bad(parameters: Parameters, result: JobResult) -> None:
    """Too many bad images are a failure, after everything was written.

    Raises:
        WorkError: More than ``parse.max_bad`` of them.
    """
    counts, limit = result.record.counts, parameters.parse.max_bad
    bad, total = counts["quarantined"], counts["images"] + counts["quarantined"]
    share = bad / total
    if share > limit:
        raise WorkError(
            f"{bad} of {total} images were quarantined ({100 * share:.1f}%; the limit parse.max_bad is "
            f"{100 * limit:g}%); the reasons are in {result.folder / 'quarantine.parquet'}; "
            f"repair the images and run again, or raise the limit"
        )
