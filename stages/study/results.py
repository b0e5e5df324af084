"""Runs the plan of a study and writes what comes of it: the table, or the values that tuning chose."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import __version__
from pipeline.columns import as_columns
from pipeline.config.deciding import Kind
from pipeline.config.program import program_digests
from pipeline.datasets.catalog import load_facts
from pipeline.errors import InputError, WorkError
from pipeline.files import atomic_file, read_json, write_json
from pipeline.outputs import check_output
from pipeline.shards.cache import remove_copies
from pipeline.studies.blocks import make_blocks
from pipeline.studies.builder import common_parameters, packaged_clip
from pipeline.studies.finished import describe_run
from pipeline.studies.formats import FORMATS, write_table
from pipeline.studies.plan import make_plan, make_tuning_plan
from pipeline.studies.rows import WALKERS, Plan
from pipeline.studies.schedule import Schedule
from pipeline.studies.table import Table, build_table, table_as_json
from pipeline.studies.tuning import choose, scores_of, tuning_as_json, tuning_as_markdown
from stages.console import Console
from stages.study.plan import Resolved
from stages.study.run import Machines, run_plan

TABLE, INCOMPLETE = "table", "table-incomplete"
TUNING_FORMATS = ("json", "md")
TUNING, TUNING_INCOMPLETE = "tuning", "tuning-incomplete"


def _program(resolved: Resolved) -> Mapping[Kind, str]:
    """Digests of the program that makes the steps, by kind; the parser is the same for all methods."""
    return program_digests(common_parameters(resolved.study, resolved.base).parse.parser)


def _failures(schedule: Schedule) -> list[str]:
    return list(dict.fromkeys(schedule.failures.values()))


def _clip_of(resolved: Resolved, schedule: Schedule) -> str | None:
    """What the CLIP is: hash of its weights."""
    if resolved.given is not None:
        return resolved.given.clip
    if "clip" not in schedule.notes:
        return packaged_clip(resolved.study, resolved.base)
    digest: str = read_json(resolved.folder / "clip" / "config.json", "CLIP checkpoint")["weights_sha256"]
    return digest


def _remove_caches(plan: Plan) -> None:
    """Decoded images beside rendered shards: they are needed for training only, and made again in seconds."""
    for step in plan.steps.values():
        if step.kind == "shards" and step.of_rendered:
            remove_copies(step.out, step.out.parent / ".cache")


def _check_own(folder: Path, stem: str, endings: Sequence[str]) -> None:
    """Refuse files of these names that no study has written: they would be replaced or removed.

    Raises:
        InputError: There are some, or nothing can be written there.
    """
    paths = [folder / f"{stem}.{ending}" for ending in endings]
    check_output(paths[0], "json", ["study", "complete"])
    for path in paths[1:]:
        if path.exists() and not paths[0].exists():
            raise InputError(f"{path} is there and no study has written it: move it elsewhere, or give another --out")


def _remove(folder: Path, stem: str, endings: Sequence[str] = FORMATS) -> None:
    for ending in reversed(endings):  # the JSON, which says whose they are, last
        (folder / f"{stem}.{ending}").unlink(missing_ok=True)


def _say_failures(console: Console, failures: list[str]) -> None:
    for failure in failures:
        console.say(f"failed: {failure}")


def _table_of(resolved: Resolved, plan: Plan, schedule: Schedule, failures: list[str]) -> Table:
    """The table of what is finished."""
    made_by: dict[str, Any] = {
        "version": __version__,
        "rendered": resolved.given is None,
        "clip": _clip_of(resolved, schedule),
        "shards_sha256": {
            name: schedule.notes[name].output
            for name, step in plan.steps.items()
            if step.kind == "shards" and name in schedule.notes
        }
        or (resolved.given.shards_sha256 if resolved.given else None),
    }
    return build_table(resolved.name, resolved.study, plan, schedule.notes, failures, made_by)


def make_table(resolved: Resolved, machines: Machines, console: Console) -> None:
    """Run what is missing and write the table; until it is whole, what there is of it is written after every run.

    Raises:
        InputError: A parameter is wrong, or the cluster does not answer.
        WorkError: Something failed; the table is written as incomplete.
    """
    plan = make_plan(resolved.study, resolved.folder, resolved.base, resolved.given, _program(resolved))
    console.say(f"study {resolved.name}: {len(plan.runs)} runs, {len(plan.steps)} steps, in {resolved.folder}")
    for stem in (TABLE, INCOMPLETE):
        _check_own(resolved.tables, stem, FORMATS)

    def on_run(schedule: Schedule, metrics: str) -> str:
        unfinished = sum(name not in schedule.notes for name in plan.runs)
        if unfinished:
            missing = [*_failures(schedule), f"{unfinished} of {len(plan.runs)} runs are not finished"]
            write_table(_table_of(resolved, plan, schedule, missing), resolved.tables, INCOMPLETE)
        return describe_run(resolved.study, plan, metrics)

    schedule = run_plan(plan, machines, console, on_run)
    failures = _failures(schedule)
    table = _table_of(resolved, plan, schedule, failures)
    stem, other = (INCOMPLETE, TABLE) if failures else (TABLE, INCOMPLETE)
    paths = write_table(table, resolved.tables, stem)
    _remove(resolved.tables, other)
    console.result(table_as_json(table), _text(table))
    console.say(f"table -> {', '.join(str(path) for path in paths)}")
    _conclude(resolved, plan, failures, console)


def _conclude(resolved: Resolved, plan: Plan, failures: list[str], console: Console) -> None:
    if failures:
        _say_failures(console, failures)
        raise WorkError(
            f"{len(failures)} steps of study {resolved.name} failed, and what needs them is missing: {failures[0]}; "
            f"logs lie beside the artifacts in {resolved.folder}; the same command tries them again"
        )
    _remove_caches(plan)


def _text(table: Table) -> str:
    """The blocks as aligned text, for a terminal."""
    parts = []
    for block in make_blocks(table):
        lines = [block.header, *(tuple(f"{cell.text} {cell.more}".strip() for cell in row) for row in block.rows)]
        parts.append("\n".join([block.title, as_columns(lines)]))
    return "\n\n".join(parts)


def make_tuning(resolved: Resolved, machines: Machines, console: Console) -> None:
    """Run the tuning grid and print what is best, as YAML to be put into the study.

    Raises:
        InputError: The study has no grid, or the data set has no population to tune on.
        WorkError: Something failed.
    """
    if resolved.given is not None:
        raise InputError(
            "--tune renders a population of its own, and only walkers can be rendered: for this data set give values "
            "by --params or --set"
        )
    study = resolved.study
    known = load_facts(WALKERS).protocols
    if study.tuning is not None and study.tuning.protocol not in known:
        raise InputError(f"tuning.protocol {study.tuning.protocol} is not among {', '.join(known)}")
    plan, points = make_tuning_plan(study, resolved.folder, resolved.base, _program(resolved))
    assert study.tuning is not None
    console.say(
        f"tuning of {resolved.name}: {len(points)} points on seeds {', '.join(map(str, study.tuning.seeds))}, "
        f"{len(plan.steps)} steps, in {resolved.folder}"
    )
    for stem in (TUNING, TUNING_INCOMPLETE):
        _check_own(resolved.tables, stem, TUNING_FORMATS)
    schedule = run_plan(plan, machines, console, lambda _, metrics: describe_run(study, plan, metrics))
    failures = _failures(schedule)
    scores = scores_of(plan, points, schedule.notes, study.tuning)
    chosen = choose(scores)
    stem, other = (TUNING_INCOMPLETE, TUNING) if failures else (TUNING, TUNING_INCOMPLETE)
    value = tuning_as_json(resolved.name, study, scores, chosen, failures)
    write_json(resolved.tables / f"{stem}.json", value)
    with atomic_file(resolved.tables / f"{stem}.md") as temporary:
        temporary.write_text(tuning_as_markdown(study, scores, chosen, failures), encoding="utf-8")
    _remove(resolved.tables, other, TUNING_FORMATS)
    plain = json.loads(json.dumps({"tuned": chosen}))
    console.result(value, yaml.safe_dump(plain, sort_keys=False).rstrip("\n"))
    console.say(f"scores -> {resolved.tables / f'{stem}.json'}, {resolved.tables / f'{stem}.md'}")
    _conclude(resolved, plan, failures, console)
