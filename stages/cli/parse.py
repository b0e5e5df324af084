"""``ccaf-pipeline parse``: human parsing of a data set into Parquet shards, on Ray."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import InputError, WorkError
from stages.cli.options import Context, MaxBadOption, shared_options

if TYPE_CHECKING:
    from pipeline.location import Location
    from pipeline.shards.making.job import JobResult

SHOWN_PROBLEMS = 10


@shared_options("dataset", "parser", "root", "trust", "address")
def command(
    context: Context,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", help="Folder for the shards, local or a URI such as s3://... Default: artifacts/<data set>/shards."
        ),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            "--manifest",
            help="Manifest made by ccaf-pipeline manifest, local or a URI; the data set is not listed again.",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            help="With --manifest: folder its paths are relative to, local or a URI. Default: the data set's.",
        ),
    ] = None,
    parsers: Annotated[
        bool, typer.Option("--parsers", help="Only list the parsers, each with its settings, defaults and meaning.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Parse only this many images, spread over the data set.")
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            metavar="NUMBER",
            help="Worker processes. 0: as many as there are CPUs (or GPUs). 4:32: begin with 4, grow up to 32 as the "
            "cluster has room, and shrink when machines leave it.",
        ),
    ] = "0",
    threads: Annotated[
        int,
        typer.Option(
            "--threads", min=0, help="CPU threads of a worker's network. 0: the parameter threads, or else 1."
        ),
    ] = 0,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace shards that were made with other parameters or by another version of the program, once the "
            "new ones are complete. Others are reused all the same.",
        ),
    ] = False,
    max_bad: MaxBadOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and stop.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only re-read finished shards: hashes, counts, and every picture.")
    ] = False,
) -> None:
    """Parse every image of a data set: label map, clothes mask, shielding image and quality figures, as Parquet shards.

    Stopped or killed at any moment, the same command goes on from the shards that are complete. An image that cannot
    be used goes to quarantine.parquet with the reason; the exit code is 1 if more than parse.max_bad of them do.
    """
    from pipeline.location import locate
    from pipeline.shards.making.run import read_workers
    from stages import parse

    if parsers:
        from stages.cli.parser_list import show_parsers

        show_parsers(context.console)
        return
    if max_bad is not None:
        context = replace(context, overrides=[*(context.overrides or []), f"parse.max_bad={max_bad}"])
    least, most = read_workers(workers)
    place = locate(out or context.workspace.shards)
    if verify:
        _refuse_beside_verify(
            {
                "--plan": plan,
                "--overwrite": overwrite,
                "--manifest": manifest is not None,
                "--images": images is not None,
                "--limit": limit is not None,
                "--max-bad": max_bad is not None,
                "--threads": threads > 0,
                "--address": context.address is not None,
            }
        )
    if verify:
        _verify(context, place, most or least)
        return
    if images is not None and manifest is None:
        raise InputError("--images goes with --manifest; without it, name the data set by --dataset and --root")
    source = parse.read_images(context.parameters, context.console, manifest, images, limit)
    settings = context.parameters.parse
    how = parse.run_settings(context.parameters, least, threads, context.cluster_address, most)
    if plan:
        from stages.cli.parse_plan import show_plan

        show_plan(context.console, source.facts.name, source.manifest, settings, how, place)
        return
    result = parse.parse_source(context.console, source, settings, how, place, overwrite)
    _conclude(context, result, ["--shards", out] if out else [])


def _refuse_beside_verify(given: Mapping[str, bool]) -> None:
    """Refuse options that say how images are parsed where none is.

    Raises:
        InputError: One was given.
    """
    names = [name for name, is_given in given.items() if is_given]
    if names:
        raise InputError(f"--verify only reads finished shards: leave out {', '.join(names)}")


def _verify(context: Context, out: "Location", workers: int) -> None:
    from pipeline.progress import Progress
    from pipeline.shards.record import read_record
    from pipeline.shards.verify import verify_folder

    counts = read_record(out).counts
    with Progress(counts["images"], "verify", "image", quiet=context.console.quiet) as progress:
        problems = verify_folder(out, workers or len(os.sched_getaffinity(0)), progress.advance)
    value = {"out": str(out), "images": counts["images"], "shards": counts["shards"], "problems": problems}
    shown = problems[:SHOWN_PROBLEMS] + ["..."] * (len(problems) > SHOWN_PROBLEMS)
    text = f"{counts['shards']} shards, {counts['images']:,} images in {out}: {len(problems) or 'no'} problems"
    context.console.result(value, "\n".join([text, *shown]))
    if problems:
        raise WorkError(f"{len(problems)} problems in {out}: run ccaf-pipeline parse; it makes damaged shards again")


def _conclude(context: Context, result: "JobResult", shards: list[str]) -> None:
    """Say what was done and what to do next; too many bad images are a failure, after everything was written."""
    from stages.parse import check_bad

    console, record, timings = context.console, result.record, result.timings
    counts = record.counts
    bad, total = counts["quarantined"], counts["images"] + counts["quarantined"]
    share = bad / total
    lines = [f"{counts['images']:,} images in {counts['shards']} shards, {counts['bytes'] / 1e6:,.1f} MB"]
    if timings.shards_reused:
        lines[0] += f" ({timings.shards_reused} shards reused)"
    if timings.images:
        lines.append(
            f"parsed {timings.images:,} images at {timings.images_per_second:.1f} images/s with {timings.workers} "
            f"worker(s); start-up {timings.startup_seconds:.1f} s besides"
        )
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(counts["reasons"].items()))
    lines.append(f"quarantined {bad} ({100 * share:.2f}%)" + (f": {reasons}" if bad else ""))
    examples = _quarantine_examples(result.folder) if bad else {}
    for reason, (image_id, detail) in examples.items():
        number = counts["reasons"][reason]
        lines.append(f"  {reason}: {number} image{'s' if number > 1 else ''}, such as {image_id}: {detail}")
    flags = ", ".join(f"{flag} {number}" for flag, number in sorted(counts["flags"].items()))
    lines.append(f"flagged: {flags or 'none'}")
    console.result(
        {
            "out": str(result.folder),
            "fingerprint": record.fingerprint,
            "counts": counts,
            "quarantine_examples": examples,
            "timings": {**asdict(timings), "images_per_second": timings.images_per_second},
        },
        "\n".join(lines),
    )
    console.say(f"shards, quarantine.parquet and _record.json -> {result.folder}")
    check_bad(context.parameters, result)
    console.say(f"look at the masks: ccaf-pipeline inspect {shlex.quote(str(result.folder))}")
    context.say_next("train", *shards)


def _quarantine_examples(folder: "Location") -> dict[str, tuple[str, str]]:
    """For each reason of the quarantine table its first image and the sentence that says why, by reason.

    Raises:
        InputError: The table is missing or damaged.
    """
    from pipeline.reporting.overview import list_quarantine

    examples: dict[str, tuple[str, str]] = {}
    for row in list_quarantine(folder):
        examples.setdefault(row["reason"], (row["image_id"], row["detail"]))
    return dict(sorted(examples.items()))
