"""``ccaf-pipeline datasets``: the data sets that are known, and which of them are here."""

import os
from dataclasses import asdict, dataclass
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
    known = [(facts, _presence(facts, top)) for facts in map(load_facts, names)]
    if top is None:
        context.console.say(f"no data root: give it by --root, data.root or {DATA_VARIABLE} to see what is present")
    value = {
        "root": None if top is None else str(top),
        "datasets": [{**facts.model_dump(mode="json"), **asdict(presence)} for facts, presence in known],
    }
    if dataset is None:
        lines = [["name", "title", "state", "protocols"]]
        lines += [[facts.name, facts.title, presence.state, " ".join(facts.protocols)] for facts, presence in known]
        text = as_columns(lines, numbers=False)
        context.console.say("how to get one, its terms and layout: ccaf-pipeline datasets --dataset NAME")
    else:
        text = "\n".join(_details(*entry) for entry in known)
    context.console.result(value, text)


@dataclass(frozen=True)
class Presence:
    """Whether a data set is below the root.

    Attributes:
        state: present, incomplete, absent, or unknown if there is no root.
        found: Its folder.
        missing: Which of its markers are not there.
    """

    state: str
    found: str | None = None
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f" in {self.found}" if self.found else ""
        lacking = f"; {', '.join(self.missing)} are missing" if self.missing else ""
        return self.state + place + lacking


def _presence(facts: "DatasetFacts", top: Path | None) -> Presence:
    from pipeline.datasets.catalog import find_below, missing_markers

    if top is None:
        return Presence("unknown")
    folder = find_below(facts, top)
    missing = facts.markers if folder is None else tuple(missing_markers(facts, folder))
    if len(missing) == len(facts.markers):
        return Presence("absent")
    return Presence("incomplete" if missing else "present", str(folder), missing)


def _details(facts: "DatasetFacts", presence: Presence) -> str:
    from pipeline.datasets.counts import QUANTITIES

    entries: dict[str, Any] = {
        "name": facts.name,
        "title": facts.title,
        "state": presence,
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
