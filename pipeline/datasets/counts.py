"""Counts what a manifest holds, split by split, beside what the authors of the data set publish."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import as_columns
from pipeline.datasets.catalog import DatasetFacts, PublishedCounts, Quantity, Role

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
_COLUMNS = {"identities": "person_id", "clothes": "clothes_id", "cameras": "camera_id", "tracklets": "tracklet_id"}
DIFFERS, DIFFERS_FROM_UNCERTAIN = "!", "?"


@dataclass(frozen=True)
class Count:
    """One number of the table.

    Attributes:
        found: As counted; None where the manifest has no such label.
        published: As the authors state it; None where they state nothing.
        uncertain: The published number could not be verified.
    """

    found: int | None
    published: int | None = None
    uncertain: bool = False

    @property
    def differs(self) -> bool:
        """Whether a published number is there and is not the one found."""
        return self.published is not None and self.published != self.found

    @property
    def text(self) -> str:
        """Such as ``17,896``, ``5/17,896 !`` or ``-``: found, published if it differs or confirms, and the mark."""
        found = "-" if self.found is None else f"{self.found:,}"
        if self.published is None:
            return found
        mark = (DIFFERS_FROM_UNCERTAIN if self.uncertain else DIFFERS) if self.differs else "="
        return f"{found}/{self.published:,} {mark}"


@dataclass(frozen=True)
class CountRow:
    """The counts of one split or group of splits, by quantity."""

    of: str
    counts: dict[Quantity, Count]


def count_labels(table: pa.Table, no_person_ids: Sequence[int] = ()) -> dict[Quantity, int | None]:
    """Count images and distinct labels of some rows of a manifest.

    Args:
        table: Rows of a manifest.
        no_person_ids: Person ids that stand for nobody and are not counted as identities.

    Returns:
        By quantity the number; None for a label that no row has.
    """
    result: dict[Quantity, int | None] = {}
    for quantity in QUANTITIES:
        if quantity == "images":
            result[quantity] = table.num_rows
            continue
        values = pc.unique(table[_COLUMNS[quantity]]).drop_null()
        if quantity == "identities":
            values = values.filter(pc.invert(pc.is_in(values, pa.array(no_person_ids, values.type))))
        result[quantity] = len(values) if len(values) or quantity == "identities" else None
    return result


def compare_counts(manifest: pa.Table, facts: DatasetFacts) -> list[CountRow]:
    """The table of counts: the whole data set, then what the facts name, then splits that they do not name."""
    published = list(facts.counts)
    if not any(entry.of == "all" for entry in published):
        published.insert(0, PublishedCounts(of="all"))
    by_role = [split for role in get_args(Role) for split in facts.roles.get(role, ())]
    present = pc.unique(manifest["split"]).to_pylist()
    named = {entry.of for entry in published}
    for split in [*by_role, *sorted(set(present) - set(by_role))]:
        if split in present and split not in named:
            published.append(PublishedCounts(of=split))
            named.add(split)
    return [_compare(manifest, entry, facts.no_person_ids) for entry in published]


def _compare(manifest: pa.Table, entry: PublishedCounts, no_person_ids: Sequence[int]) -> CountRow:
    rows = manifest
    if entry.splits or entry.of != "all":
        splits = entry.splits or (entry.of,)
        rows = manifest.filter(pc.is_in(manifest["split"], pa.array(splits, pa.string())))
    found = count_labels(rows, no_person_ids)
    counts = {
        quantity: Count(found[quantity], getattr(entry, quantity), quantity in entry.uncertain)
        for quantity in QUANTITIES
    }
    return CountRow(entry.of, counts)


def differences(rows: Sequence[CountRow]) -> list[str]:
    """Sentences about numbers that differ from verified published ones."""
    return [
        f"{row.of}: {'no' if count.found is None else f'{count.found:,}'} {quantity}, published are {count.published:,}"
        for row in rows
        for quantity, count in row.counts.items()
        if count.differs and not count.uncertain
    ]


def counts_as_text(rows: Sequence[CountRow]) -> str:
    """The counts as a table for people."""
    lines = [["split", *QUANTITIES]] + [[row.of, *(row.counts[name].text for name in QUANTITIES)] for row in rows]
    table = as_columns(lines)
    if not any(count.published is not None for row in rows for count in row.counts.values()):
        return table
    return (
        f"{table}\nfound/published: = the same, {DIFFERS} differs, "
        f"{DIFFERS_FROM_UNCERTAIN} differs from a number that could not be verified, - no such label"
    )


def counts_as_json(rows: Sequence[CountRow]) -> dict[str, Any]:
    """The counts as plain values: split, quantity, then found, published, uncertain and differs."""
    return {
        row.of: {
            quantity: {
                "found": count.found,
                "published": count.published,
                "uncertain": count.uncertain,
                "differs": count.differs,
            }
            for quantity, count in row.counts.items()
        }
        for row in rows
    }
