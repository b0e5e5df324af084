"""The sheet of parsed images: original, labels, mask, shielding and clothes image side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.parsing.masks import clothes_image
from pipeline.reporting.cards import ImageCard, image_card
from pipeline.reporting.pictures import (
    Box,
    Palette,
    Picture,
    hex_colour,
    label_overlay,
    label_palette,
    mask_outline,
    mask_picture,
    photo,
    shrink_image,
    shrink_labels,
)
from pipeline.shards.reader import ShardReader

SHEET_BOX = Box(height=208, width=156)
OUTLINE_BOX = Box(height=312, width=234)
LOW_SHARE = 4
"""One in so many images of the sheet is among those that the parser is least sure of."""

_LABEL_VALUES = 256
_SEED_SHEET = 11


@dataclass(frozen=True)
class SheetImage:
    """One parsed image.

    Attributes:
        card: Which image it is.
        pictures: Name and picture of each view, in the order of the way through parsing.
        clothes_fraction: Share of its pixels that are in the clothes mask.
        person_fraction: Share of its pixels that are labelled as person.
        confidence: Of the parse.
        flags: Those that apply.
    """

    card: ImageCard
    pictures: tuple[tuple[str, Picture], ...]
    clothes_fraction: float
    person_fraction: float
    confidence: float
    flags: tuple[str, ...]


@dataclass(frozen=True)
class LegendEntry:
    """One label that occurs on the sheet.

    Attributes:
        name: Of the label.
        colour: ``#rrggbb``.
        covered: Whether the clothes mask covers it.
    """

    name: str
    colour: str
    covered: bool


@dataclass(frozen=True)
class Sheet:
    """The images of a sheet.

    Attributes:
        random: Drawn by the seed, spread over the splits.
        unsure: Those with the lowest confidence of all.
        legend: The labels that occur, by number.
    """

    random: tuple[SheetImage, ...]
    unsure: tuple[SheetImage, ...]
    legend: tuple[LegendEntry, ...]


def choose_rows(
    splits: Sequence[str], confidence: Sequence[float], count: int, seed: int
) -> tuple[list[int], list[int]]:
    """Choose which images are shown.

    Args:
        splits: Of each image.
        confidence: Of each image's parse.
        count: Images wanted in all; fewer come back if there are fewer.
        seed: Decides the draw.

    Returns:
        Rows drawn at random, taken from the splits in turn, ascending; and the ``count // 4`` rows of the lowest
        confidence, the lowest first.
    """
    order = np.argsort(np.asarray(confidence), kind="stable")
    unsure = [int(row) for row in order[: min(count, len(splits)) // LOW_SHARE]]
    generator = np.random.default_rng([seed, _SEED_SHEET])
    decks = []
    for split in sorted(set(splits)):
        rows = [row for row, name in enumerate(splits) if name == split and row not in unsure]
        decks.append([rows[position] for position in generator.permutation(len(rows))])
    drawn: list[int] = []
    wanted = min(count, len(splits)) - len(unsure)
    while len(drawn) < wanted:
        for deck in decks:
            if deck and len(drawn) < wanted:
                drawn.append(deck.pop())
    return sorted(drawn), unsure


def _sheet_image(reader: ShardReader, row: int, palette: Palette, outline: bool) -> tuple[SheetImage, set[int]]:
    image, labels, mask = reader.image(row), reader.label_map(row), reader.mask(row)
    card = image_card(reader.ids, row)
    small_labels = shrink_labels(labels, SHEET_BOX)
    clothes = clothes_image(image, mask, reader.metadata.fill)
    if outline:
        mask_view = ("outline", photo(mask_outline(image, mask, OUTLINE_BOX), "the outline of its clothes mask"))
    else:
        small_mask = shrink_labels(mask.astype(np.uint8), SHEET_BOX).astype(np.bool_)
        mask_view = ("mask", mask_picture(small_mask, "its clothes mask"))
    views = (
        ("image", photo(shrink_image(image, SHEET_BOX), f"{card.image_id}, {card.text}")),
        ("labels", photo(label_overlay(shrink_image(image, SHEET_BOX), small_labels, palette), "its label map")),
        mask_view,
        ("shielding", photo(shrink_image(reader.shielded(row), SHEET_BOX), "its shielding image")),
        ("clothes", photo(shrink_image(clothes, SHEET_BOX), "its clothes image")),
    )
    ids = reader.ids
    shown = SheetImage(
        card,
        views,
        clothes_fraction=float(ids.clothes_fraction[row]),
        person_fraction=float(ids.person_fraction[row]),
        confidence=float(ids.confidence[row]),
        flags=tuple(ids.flags[row]),
    )
    return shown, {int(value) for value in np.unique(labels)}


def sheet_images(reader: ShardReader, rows: Iterable[int], outline: bool) -> tuple[dict[int, SheetImage], set[int]]:
    """The images of some rows, by row, and the label numbers that occur on them.

    Args:
        reader: The shards.
        rows: In any order; one that occurs twice is decoded once.
        outline: Show the clothes mask as an outline on the image instead of in black and white.
    """
    palette = label_palette(_LABEL_VALUES)
    shown: dict[int, SheetImage] = {}
    found: set[int] = set()
    for row in sorted(set(rows)):
        shown[row], labels = _sheet_image(reader, row, palette, outline)
        found |= labels
    return shown, found


def make_legend(reader: ShardReader, found: set[int]) -> tuple[LegendEntry, ...]:
    """The legend of label numbers that occur, by number, without the background."""
    palette = label_palette(_LABEL_VALUES)
    names, covered = reader.metadata.labels, set(reader.metadata.clothes_labels)
    legend = []
    for number in sorted(found - {0}):
        name = names[number] if number < len(names) else f"label {number}"
        legend.append(LegendEntry(name, hex_colour(palette[number]), name in covered))
    return tuple(legend)


def make_sheet(reader: ShardReader, count: int, seed: int) -> Sheet:
    """Draw the sheet of a shard folder.

    Args:
        reader: The shards.
        count: Images wanted.
        seed: Decides which.
    """
    random, unsure = choose_rows(reader.ids.split.tolist(), reader.ids.confidence.tolist(), count, seed)
    shown, found = sheet_images(reader, [*random, *unsure], outline=False)
    return Sheet(tuple(shown[row] for row in random), tuple(shown[row] for row in unsure), make_legend(reader, found))
