"""``ccaf-pipeline datasets``: the data sets that are known, and which of them are here."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from pipeline.datasets.catalog import DatasetFacts


def command(
    dataset: DatasetOption = None,
    root: RootOption = None,
    params: ParamsOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the known data sets and which are present; with --dataset show one with its terms and layout."""
    context = make_context(params, overrides, dataset=dataset, root=root, quiet=quiet, as_json=as_json)
    from pipeline.datasets.catalog import DATA_VARIABLE, dataset_names, load_facts
    from pipeline.datasets.counts import as_columns

    base = context.parameters.data.root or os.environ.get(DATA_VARIABLE)
    top = None if not base else Path(base).expanduser()
    names = dataset_names() if dataset is None else [dataset]
    known = [(facts, *_presence(facts, top)) for facts in map(load_facts, names)]
    if top is None:
        context.console.say(f"no data root: give it by --root, data.root or {DATA_VARIABLE} to see what is present")
    value = {
        "root": None if top is None else str(top),
        "datasets": [
            {**facts.model_dump(mode="json"), "state": state, "found": None if folder is None else str(folder)}
            for facts, state, folder in known
        ],
    }
    if dataset is None:
        lines = [["name", "title", "state", "protocols"]]
        lines += [[facts.name, facts.title, state, " ".join(facts.protocols)] for facts, state, _ in known]
        text = as_columns(lines, numbers=False)
        context.console.say("how to get one, its terms and layout: ccaf-pipeline datasets --dataset NAME")
    else:
        text = "\n".join(_details(*entry) for entry in known)
    context.console.result(value, text)


def _presence(facts: "DatasetFacts", top: Path | None) -> tuple[str, Path | None]:
    """Whether a data set is below the root: present, incomplete, absent, or unknown; and its folder."""
    from pipeline.datasets.catalog import find_below, missing_markers

    if top is None:
        return "unknown", None
    folder = find_below(facts, top)
    if folder is None:
        return "absent", None
    missing = missing_markers(facts, folder)
    if len(missing) == len(facts.markers):
        return "absent", None
    return ("incomplete" if missing else "present"), folder


def _details(facts: "DatasetFacts", state: str, folder: Path | None) -> str:
    from pipeline.datasets.counts import QUANTITIES

    entries: dict[str, Any] = {
        "name": facts.name,
        "title": facts.title,
        "state": state if folder is None else f"{state} in {folder}",
        "home": facts.home,
        "access": facts.access,
        "terms": facts.terms,
        "folder": " or ".join((facts.folder or facts.name, *facts.other_folders)),
        "layout": facts.layout,
        "protocols": ", ".join(facts.protocols),
    }
    for role, splits in facts.roles.items():
        entries[role] = ", ".join(splits)
    for published in facts.counts:
        numbers = [
            f"{getattr(published, name):,} {name}{' (not verified)' if name in published.uncertain else ''}"
            for name in QUANTITIES
            if getattr(published, name) is not None
        ]
        entries[f"published, {published.of}"] = ", ".join(numbers)
    width = max(map(len, entries))
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in entries.items())
