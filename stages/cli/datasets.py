"""``ccaf-pipeline datasets``: the data sets that are known, and which of them are here."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.columns import as_columns
from stages.cli.options import Context, shared_options

if TYPE_CHECKING:
    from pipeline.datasets.catalog import DatasetFacts
    from pipeline.datasets.presence import Presence


@shared_options("dataset", "root")
def command(context: Context) -> None:
    """List the known data sets and which are present; with --dataset show one with its terms and layout."""
    from pipeline.datasets.catalog import (
        DATA_VARIABLE,
        data_root,
        dataset_names,
        load_facts,
        sets_not_included,
    )
    from pipeline.datasets.presence import find_presence

    base = data_root(context.parameters.data.root, os.environ)
    top = None if base is None else Path(base)
    names = dataset_names() if context.dataset is None else [context.dataset]
    known = [(facts, find_presence(facts, top)) for facts in map(load_facts, names)]
    if top is None:
        context.console.say(f"no data root: give it by --root, data.root or {DATA_VARIABLE} to see what is present")
    value: dict[str, Any] = {
        "root": None if top is None else str(top),
        "datasets": [{**facts.model_dump(mode="json"), **asdict(presence)} for facts, presence in known],
    }
    if context.dataset is None:
        others = sets_not_included()
        value["not_included"] = [entry.model_dump(mode="json") for entry in others]
        lines = [["name", "title", "state", "protocols"]]
        lines += [[facts.name, facts.title, presence.state, " ".join(facts.protocols)] for facts, presence in known]
        text = as_columns(lines, numbers=False)
        context.console.say("how to get one, its terms and layout: ccaf-pipeline datasets --dataset NAME")
        titles = ", ".join(entry.title for entry in others)
        context.console.say(f"not included ({titles}): the same command says why")
    else:
        text = "\n".join(_details(*entry) for entry in known)
    context.console.result(value, text)


def _details(facts: "DatasetFacts", presence: "Presence") -> str:
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
