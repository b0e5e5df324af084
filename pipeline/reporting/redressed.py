"""The sheet of people in other clothes: where a mask is wrong, a new colour shows it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.garments import REGIONS
from pipeline.redress.outfits import Outfit
from pipeline.redress.pool import make_outfit
from pipeline.redress.redress import redress
from pipeline.redress.regions import RegionTable, region_table
from pipeline.redress.settings import Kind
from pipeline.reporting.cards import image_card
from pipeline.reporting.pictures import label_overlay, label_palette, photo, shrink_image, shrink_labels
from pipeline.reporting.sheets import SHEET_BOX, LegendEntry, SheetImage, make_legend
from pipeline.shards.reader import ShardReader

_SHOWN: tuple[Kind, ...] = ("colour", "colour", "texture", "donor")
_LABEL_VALUES = 256
_SEED_SHEET = 31

Outfits = Callable[[int], Sequence[tuple[str, Outfit]]]
"""Gives the names and outfits that the image of a row is shown in."""


@dataclass(frozen=True)
class RedressedSheet:
    """Images in other clothes.

    Attributes:
        images: Each with its label map and its views.
        legend: The labels that occur.
    """

    images: tuple[SheetImage, ...]
    legend: tuple[LegendEntry, ...]


@dataclass(frozen=True)
class RedressedPage:
    """The page about a redressed data set.

    Attributes:
        title: Of the data set.
        version: Of this program.
        facts: Name and value of what made it.
        sheet: Images of it.
    """

    title: str
    version: str
    facts: tuple[tuple[str, str], ...]
    sheet: RedressedSheet


def redressed_sheet(reader: ShardReader, rows: Iterable[int], outfits: Outfits, table: RegionTable) -> RedressedSheet:
    """Show images in some outfits.

    Args:
        reader: The shards.
        rows: The images.
        outfits: What each is shown in.
        table: Which labels are garments.
    """
    palette, found, images = label_palette(_LABEL_VALUES), set[int](), []
    for row in rows:
        image, labels, card = reader.image(row), reader.label_map(row), image_card(reader.ids, row)
        small = shrink_image(image, SHEET_BOX)
        views = [
            ("image", photo(small, f"{card.image_id}, {card.text}")),
            ("labels", photo(label_overlay(small, shrink_labels(labels, SHEET_BOX), palette), "its label map")),
        ]
        for name, outfit in outfits(row):
            worn = redress(image, labels, outfit, table).image
            views.append((name, photo(shrink_image(worn, SHEET_BOX), f"the same in other clothes: {name}")))
        ids = reader.ids
        images.append(
            SheetImage(
                card,
                tuple(views),
                clothes_fraction=float(ids.clothes_fraction[row]),
                person_fraction=float(ids.person_fraction[row]),
                confidence=float(ids.confidence[row]),
                flags=tuple(ids.flags[row]),
            )
        )
        found |= set(labels.ravel().tolist())
    return RedressedSheet(tuple(images), make_legend(reader, found))


def inspection_sheet(reader: ShardReader, rows: Sequence[int], seed: int) -> RedressedSheet:
    """Images in two plain outfits, a textured one, and the colours of another of the images, shoes and hats included.

    Raises:
        InputError: The label scheme has no garments.
    """
    table = region_table(reader.metadata.labels, REGIONS)
    donors = np.asarray(rows, dtype=np.int64)

    def outfits(row: int) -> list[tuple[str, Outfit]]:
        others = donors[donors != row] if len(donors) > 1 else donors
        return [
            (kind, make_outfit(kind, [seed, _SEED_SHEET, row, number], reader, others, table))
            for number, kind in enumerate(_SHOWN)
        ]

    return redressed_sheet(reader, rows, outfits, table)
