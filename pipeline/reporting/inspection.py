"""The page about the masks of a shard folder: what made them, how they are spread, and images to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.parsing.quality import FLAGS
from pipeline.reporting.origin import Fact, parsing_facts
from pipeline.reporting.overview import Tally, count_flags, count_quarantine, list_quarantine
from pipeline.reporting.page import Tile
from pipeline.reporting.plots import histogram
from pipeline.reporting.redressed import RedressedSheet, inspection_sheet
from pipeline.reporting.sheets import LegendEntry, SheetImage, make_legend, sheet_images
from pipeline.shards.reader import ShardIds, ShardReader
from pipeline.shards.summary import GroupSummary, QualitySummary, Spread, summarise

MOST_CAMERAS = 40
MOST_QUARANTINED = 100
_SEED_INSPECT = 12


@dataclass(frozen=True)
class Selection:
    """Which images of a folder are looked at; None or nothing: all.

    Attributes:
        splits: Of these splits.
        cameras: By these cameras.
        flags: With any of these flags.
    """

    splits: tuple[str, ...] = ()
    cameras: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """In words; empty for everything."""
        parts = [
            (f"split {' or '.join(self.splits)}", self.splits),
            (f"camera {' or '.join(map(str, self.cameras))}", self.cameras),
            (f"flag {' or '.join(self.flags)}", self.flags),
        ]
        return ", ".join(text for text, given in parts if given)

    def rows(self, ids: ShardIds) -> NDArray[np.int64]:
        """Ascending indices of the images.

        Raises:
            InputError: A split, camera or flag does not exist, or no image is left.
        """
        chosen = np.ones(len(ids.image_id), dtype=np.bool_)
        if self.splits:
            _check("split", self.splits, sorted(set(ids.split)))
            chosen &= np.isin(ids.split.astype(str), self.splits)
        if self.cameras:
            _check("camera", self.cameras, [int(value) for value in np.unique(ids.camera_id) if value >= 0])
            chosen &= np.isin(ids.camera_id, self.cameras)
        if self.flags:
            found = {flag for some in ids.flags for flag in some}
            _check("flag", self.flags, [*FLAGS, *sorted(found - set(FLAGS))])
            chosen &= np.array([not set(some).isdisjoint(self.flags) for some in ids.flags], dtype=np.bool_)
        rows = np.flatnonzero(chosen).astype(np.int64)
        if not len(rows):
            raise InputError(f"no image in these shards has {self.text}")
        return rows


def _check(what: str, wanted: Sequence[Any], known: Sequence[Any]) -> None:
    for value in wanted:
        if value not in known:
            listed = ", ".join(map(str, known[:MOST_CAMERAS])) or "none"
            raise InputError(f"no image in these shards has {what} {value}; there are: {listed}")


@dataclass(frozen=True)
class Distribution:
    """One figure over all images looked at.

    Attributes:
        name: Of the figure.
        meaning: What it says.
        spread: Its quantiles.
        plot: Inline SVG.
    """

    name: str
    meaning: str
    spread: Spread
    plot: Markup


@dataclass(frozen=True)
class Inspection:
    """Everything on the page.

    Attributes:
        title: Name of the data set for people.
        version: Of this program.
        selection: Which images, in words; empty for all.
        tiles: Large numbers.
        facts: What made the shards.
        distributions: Of the figures.
        splits: By split; the last row is of all if there are several.
        cameras: By camera.
        more_cameras: Cameras that are not listed.
        flags: By flag.
        worst: Images, the worst first.
        random: Images drawn at random.
        redressed: People in other clothes, if that was asked for.
        legend: Labels that occur on either sheet.
        quarantine: By reason, of the whole folder.
        quarantined: Image and detail of the first of them.
        more_quarantined: How many more there are.
        summary: All figures.
    """

    title: str
    version: str
    selection: str
    tiles: tuple[Tile, ...]
    facts: tuple[Fact, ...]
    distributions: tuple[Distribution, ...]
    splits: tuple[GroupSummary, ...]
    cameras: tuple[GroupSummary, ...]
    more_cameras: int
    flags: tuple[Tally, ...]
    worst: tuple[SheetImage, ...]
    random: tuple[SheetImage, ...]
    redressed: RedressedSheet
    legend: tuple[LegendEntry, ...]
    quarantine: tuple[Tally, ...]
    quarantined: tuple[tuple[str, str, str], ...]
    more_quarantined: int
    summary: QualitySummary


def worst_first(ids: ShardIds, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """``rows`` with the worst first: by the gravest flag (in the order of ``FLAGS``, then others, then none), then by
    lowest confidence, then by smallest clothes mask, then by image_id.
    """
    gravity = {flag: number for number, flag in enumerate(FLAGS)}
    gravest = [min((gravity.get(flag, len(FLAGS)) for flag in ids.flags[row]), default=len(FLAGS) + 1) for row in rows]
    order = np.lexsort((rows, ids.clothes_fraction[rows], ids.confidence[rows], np.array(gravest)))
    return rows[order]


def inspect_shards(
    reader: ShardReader, *, title: str, version: str, selection: Selection, images: int, seed: int, redressed: int = 0
) -> Inspection:
    """Gather the page; only the images that are shown are decoded.

    Args:
        reader: The shards.
        title: Name of the data set for people.
        version: Of this program.
        selection: Which images to look at.
        images: Images on each of the two sheets.
        seed: Decides which are drawn at random.
        redressed: Images on the sheet of people in other clothes; 0: no such sheet.

    Raises:
        InputError: Nothing is selected, or the quarantine table is damaged.
    """
    ids = reader.ids
    rows = selection.rows(ids)
    summary = summarise(ids, rows)
    generator = np.random.default_rng([seed, _SEED_INSPECT])
    drawn = np.sort(generator.choice(rows, size=min(images, len(rows)), replace=False))
    dressed = generator.choice(rows, size=min(redressed, len(rows)), replace=False) if redressed else rows[:0]
    worst = worst_first(ids, rows)[:images]
    shown, labels = sheet_images(reader, [*worst.tolist(), *drawn.tolist()], outline=True)
    whole = summary.whole
    quarantined = list_quarantine(reader.folder)
    quarantine = count_quarantine(reader.folder, len(reader))
    return Inspection(
        title=title,
        version=version,
        selection=selection.text,
        tiles=_tiles(summary, len(reader), quarantine),
        facts=parsing_facts(reader),
        distributions=_distributions(ids, rows, whole),
        splits=(*summary.splits, *([whole] if len(summary.splits) > 1 else [])),
        cameras=summary.cameras[:MOST_CAMERAS],
        more_cameras=max(0, len(summary.cameras) - MOST_CAMERAS),
        flags=count_flags(ids, rows),
        worst=tuple(shown[int(row)] for row in worst),
        random=tuple(shown[int(row)] for row in drawn),
        redressed=inspection_sheet(reader, np.sort(dressed).tolist(), seed) if redressed else RedressedSheet((), ()),
        legend=make_legend(reader, labels),
        quarantine=quarantine,
        quarantined=tuple((row["image_id"], row["reason"], row["detail"]) for row in quarantined[:MOST_QUARANTINED]),
        more_quarantined=max(0, len(quarantined) - MOST_QUARANTINED),
        summary=summary,
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\u00a0%"


def _tiles(summary: QualitySummary, all_images: int, quarantine: Sequence[Tally]) -> tuple[Tile, ...]:
    whole = summary.whole
    of_all = f"of {all_images:,} in the shards" if whole.images < all_images else f"{len(summary.splits)} splits"
    reasons = ", ".join(f"{tally.name} {tally.count:,}" for tally in quarantine)
    clothes, confidence = whole.clothes_fraction, whole.confidence
    return (
        Tile("Images", f"{whole.images:,}", of_all),
        Tile("Flagged", f"{whole.flagged:,}", f"{_percent(whole.flagged / whole.images)} of the images"),
        Tile("Clothes, median", _percent(clothes.median), f"90\u00a0% of images: {_range(clothes)}"),
        Tile("Confidence, median", f"{confidence.median:.2f}", f"5\u00a0% are below {confidence.low:.2f}"),
        Tile("Quarantined", f"{sum(tally.count for tally in quarantine):,}", reasons or "every image was used"),
    )


def _range(spread: Spread) -> str:
    return f"{100 * spread.low:.0f}–{100 * spread.high:.0f}\u00a0%"


def _distributions(ids: ShardIds, rows: NDArray[np.int64], whole: GroupSummary) -> tuple[Distribution, ...]:
    figures = (
        ("clothes", "share of the pixels in the clothes mask", whole.clothes_fraction, ids.clothes_fraction),
        ("person", "share of the pixels labelled as person", whole.person_fraction, ids.person_fraction),
        ("confidence", "how sure the parser is of the person's pixels", whole.confidence, ids.confidence),
    )
    return tuple(
        Distribution(name, meaning, spread, histogram(f"{name}: images by {meaning}", values[rows].tolist()))
        for name, meaning, spread, values in figures
    )
