"""What a shard folder holds, counted: splits, quarantined images, flags."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.location import Place, locate
from pipeline.parsing import quality
from pipeline.reporting.plots import histogram
from pipeline.shards.reader import NO_ID, ShardIds, ShardReader
from pipeline.shards.schema import QUARANTINE_NAME, QUARANTINE_SCHEMA
from pipeline.storage import local_copy

EXAMPLES = 3
FLAG_MEANINGS = {
    quality.NO_PERSON: "hardly any pixel is labelled as person",
    quality.NO_CLOTHES: "hardly any pixel is in the clothes mask",
    quality.ALMOST_ALL_CLOTHES: "neither head nor limbs were found",
    quality.LOW_CONFIDENCE: "the parser is not sure",
    quality.FRAGMENTED: "the person is in several pieces",
    quality.NO_CENTRAL_PERSON: "nobody is in the image's middle, so everybody was kept",
}


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split, or of all; None where the images have no such ids."""

    split: str
    images: int
    identities: int
    clothes: int | None
    cameras: int | None
    tracklets: int | None


@dataclass(frozen=True)
class Tally:
    """How often something occurs.

    Attributes:
        name: Of a flag or a reason.
        count: Images.
        share: Of all images that it was counted in, 0 to 1.
        notes: What it means, or examples.
    """

    name: str
    count: int
    share: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Histogram:
    """Clothes fractions of one split.

    Attributes:
        split: Its name.
        plot: Inline SVG.
        median: Median of the fractions.
        empty: Images without any clothes pixel.
    """

    split: str
    plot: Markup
    median: float
    empty: int


@dataclass(frozen=True)
class Overview:
    """The data section of a page.

    Attributes:
        splits: Counts by split; with several splits the last one is of all.
        quarantine: By reason, the most frequent first.
        flags: By flag, from the gravest to the mildest; those that never occur too.
        histograms: Clothes fractions by split.
    """

    splits: tuple[SplitCounts, ...]
    quarantine: tuple[Tally, ...]
    flags: tuple[Tally, ...]
    histograms: tuple[Histogram, ...]


def _distinct(values: NDArray[np.int64] | NDArray[np.int32]) -> int | None:
    return len(np.unique(values[values != NO_ID])) or None


def _count(name: str, ids: ShardIds, rows: NDArray[np.int64], no_person_ids: Collection[int]) -> SplitCounts:
    people = set(ids.person_id[rows].tolist()) - set(no_person_ids)
    return SplitCounts(
        split=name,
        images=len(rows),
        identities=len(people),
        clothes=_distinct(ids.clothes_id[rows]),
        cameras=_distinct(ids.camera_id[rows]),
        tracklets=_distinct(ids.tracklet_id[rows]),
    )


def count_splits(ids: ShardIds, no_person_ids: Collection[int] = ()) -> tuple[SplitCounts, ...]:
    """Counts of every split, sorted by name, and of all together if there are several.

    Args:
        ids: Of the shards.
        no_person_ids: Person ids that stand for nobody and are not counted as identities.
    """
    splits = ids.split.astype(str)
    counts = [
        _count(name, ids, np.flatnonzero(splits == name).astype(np.int64), no_person_ids)
        for name in sorted(set(splits))
    ]
    if len(counts) > 1:
        counts.append(_count("all", ids, np.arange(len(splits)), no_person_ids))
    return tuple(counts)


def list_quarantine(folder: Place) -> list[dict[str, str]]:
    """``image_id``, ``reason`` and ``detail`` of every quarantined image of a shard folder, in its order.

    Raises:
        InputError: The table is missing or damaged.
    """
    place = locate(folder) / QUARANTINE_NAME
    try:
        with local_copy(place) as path:
            table = pq.read_table(path)
            table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"quarantine table {place} cannot be read ({error}): run ccaf-pipeline parse") from error
    if not table.schema.equals(QUARANTINE_SCHEMA):
        names = ", ".join(f"{field.name} ({field.type})" for field in QUARANTINE_SCHEMA)
        raise InputError(f"quarantine table {place} has other columns than {names}: run ccaf-pipeline parse")
    rows: list[dict[str, str]] = table.select(["image_id", "reason", "detail"]).to_pylist()
    return rows


def count_quarantine(folder: Place, images: int) -> tuple[Tally, ...]:
    """Quarantined images of a shard folder by reason, with a few examples of each.

    Args:
        folder: The shard folder.
        images: Good images in it; shares are of these and the quarantined together.

    Raises:
        InputError: The table is missing or damaged.
    """
    rows = list_quarantine(folder)
    counts = Counter(row["reason"] for row in rows)
    return tuple(
        Tally(
            reason,
            count,
            count / (images + len(rows)),
            tuple(f"{row['image_id']}: {row['detail']}" for row in rows if row["reason"] == reason)[:EXAMPLES],
        )
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def count_flags(ids: ShardIds, rows: NDArray[np.int64] | None = None) -> tuple[Tally, ...]:
    """Images by quality flag; of ``rows`` only, or of all."""
    chosen = ids.flags if rows is None else ids.flags[rows]
    counts = Counter(flag for flags in chosen for flag in flags)
    names = [*quality.FLAGS, *sorted(set(counts) - set(quality.FLAGS))]
    images = len(chosen)
    return tuple(
        Tally(name, counts[name], counts[name] / images, (FLAG_MEANINGS.get(name, "a note of the parser's own"),))
        for name in names
    )


def _histograms(ids: ShardIds) -> tuple[Histogram, ...]:
    splits = ids.split.astype(str)
    shown = []
    for name in sorted(set(splits)):
        values = ids.clothes_fraction[splits == name]
        plot = histogram(f"clothes fraction of the images of {name}", values.tolist())
        shown.append(Histogram(name, plot, float(np.median(values)), int((values == 0).sum())))
    return tuple(shown)


def make_overview(reader: ShardReader, no_person_ids: Collection[int] = ()) -> Overview:
    """Count what a shard folder holds.

    Args:
        reader: The shards.
        no_person_ids: Person ids that stand for nobody.

    Raises:
        InputError: The quarantine table is missing or damaged.
    """
    return Overview(
        splits=count_splits(reader.ids, no_person_ids),
        quarantine=count_quarantine(reader.folder, len(reader)),
        flags=count_flags(reader.ids),
        histograms=_histograms(reader.ids),
    )
