"""The page that compares two parses of the same images: how far they agree, and side by side where they do least."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from pipeline.errors import InputError
from pipeline.parsing.scoring.agreement import AgreementTally, Confusion, ImageAgreement, LabelAgreement
from pipeline.parsing.scoring.scores import match_labels
from pipeline.reporting.cards import ImageCard, image_card
from pipeline.reporting.comparison_numbers import (
    MOST_CONFUSIONS,
    GroupAgreement,
    distributions,
    group_figures,
    headline_tiles,
    least_first,
    summarise,
)
from pipeline.reporting.inspection import MOST_CAMERAS
from pipeline.reporting.matched_shards import Matched, Readers
from pipeline.reporting.origin import Fact, parsing_facts
from pipeline.reporting.page import Tile
from pipeline.reporting.pictures import (
    Palette,
    Picture,
    hex_colour,
    label_overlay,
    label_palette,
    photo,
    shrink_image,
    shrink_labels,
)
from pipeline.reporting.sheets import SHEET_BOX

SIDES: Final = ("A", "B")
_SEED_COMPARE: Final = 13
_MASKS: Final[Palette] = np.array([[0, 0, 0], [245, 245, 245], [245, 130, 49], [31, 119, 208]], dtype=np.uint8)
"""Colours of pixels in neither mask (not painted), in both, in the first only, and in the second only."""


@dataclass(frozen=True)
class Pair:
    """One image by both parsers.

    Attributes:
        card: Which image it is.
        pictures: Name and picture of each view: the image and both label maps, the masks and both shielding images.
        agreement: The figures.
        flags: Those that apply, by parser.
    """

    card: ImageCard
    pictures: tuple[tuple[str, Picture], ...]
    agreement: ImageAgreement
    flags: tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class SharedLegend:
    """One label of the legend: its name, its colour, and which of the parsers' masks cover it (``A``, ``B``)."""

    name: str
    colour: str
    covered: str


@dataclass(frozen=True)
class Comparison:
    """Everything on the page.

    Attributes:
        title: Name of the data set for people.
        version: Of this program.
        selection: Which images, in words; empty for all.
        notes: Sentences about images that only one of the parsers could parse.
        tiles: Large numbers.
        parsers: Names of the parsers.
        facts: What made the shards, by parser.
        plots: Name, meaning and inline SVG of each distribution.
        labels: By label that both have.
        only_one_has: Labels that only the first has, and only the second.
        confusions: The most frequent pairs of different labels.
        splits: By split.
        cameras: By camera.
        worst: Images, those that agree least first.
        random: Images drawn at random.
        legend: Labels that occur on either sheet.
        mask_colours: Meaning and colour of each part of two masks.
        summary: All figures, for programs.
    """

    title: str
    version: str
    selection: str
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...]
    parsers: tuple[str, str]
    facts: tuple[tuple[Fact, ...], tuple[Fact, ...]]
    plots: tuple[tuple[str, str, Markup], ...]
    labels: tuple[LabelAgreement, ...]
    only_one_has: tuple[tuple[str, ...], tuple[str, ...]]
    confusions: tuple[Confusion, ...]
    splits: tuple[GroupAgreement, ...]
    cameras: tuple[GroupAgreement, ...]
    worst: tuple[Pair, ...]
    random: tuple[Pair, ...]
    legend: tuple[SharedLegend, ...]
    mask_colours: tuple[tuple[str, str], ...]
    summary: dict[str, Any]


def compare_shards(
    matched: Matched, *, title: str, version: str, images: int, seed: int, advance: Callable[[], None] = lambda: None
) -> Comparison:
    """Gather the page. The label maps and masks of all images are decoded, the pixels only of those shown.

    Args:
        matched: The images.
        title: Name of the data set for people.
        version: Of this program.
        images: Images on each of the two sheets.
        seed: Decides which are drawn at random.
        advance: Called once for each image that is done.

    Raises:
        InputError: An image is not the same in both folders, or a label has no name.
    """
    readers, ids, places = matched.readers, matched.ids, matched.chosen
    tally = AgreementTally(readers[0].metadata.labels, readers[1].metadata.labels)
    figures = []
    for place in places:
        figures.append(_count(matched, int(place), tally))
        advance()
    worst = least_first(figures)[:images]
    generator = np.random.default_rng([seed, _SEED_COMPARE])
    drawn = np.sort(generator.choice(len(places), size=min(images, len(places)), replace=False))
    palettes = _palettes(readers)
    shown, found = {}, (set[int](), set[int]())
    for position in sorted({*worst.tolist(), *drawn.tolist()}):
        shown[position] = _pair(matched, int(places[position]), figures[position], palettes, found)
    sheets = tuple(shown[position] for position in worst), tuple(shown[position] for position in drawn)
    return Comparison(
        title=title,
        version=version,
        selection=matched.selection,
        notes=_notes(matched),
        tiles=headline_tiles(figures, tally, len(ids.image_id)),
        parsers=(readers[0].metadata.parser, readers[1].metadata.parser),
        facts=(parsing_facts(readers[0]), parsing_facts(readers[1])),
        plots=distributions(figures),
        labels=tally.by_label,
        only_one_has=tally.only_one_has,
        confusions=tally.confusions(MOST_CONFUSIONS),
        splits=group_figures(figures, ids.split[places].astype(str)),
        cameras=group_figures(figures, ids.camera_id[places])[:MOST_CAMERAS],
        worst=sheets[0],
        random=sheets[1],
        legend=_legend(readers, palettes, found),
        mask_colours=tuple(
            (what, hex_colour(colour))
            for what, colour in zip(("in both masks", "only in A's", "only in B's"), _MASKS[1:], strict=True)
        ),
        summary=summarise(
            figures, tally, matched.only, [[(pair.card.image_id, pair.agreement) for pair in sheet] for sheet in sheets]
        ),
    )


def _count(matched: Matched, place: int, tally: AgreementTally) -> ImageAgreement:
    readers, rows = matched.readers, [int(rows[place]) for rows in matched.rows]
    name = matched.ids.image_id[place]
    if readers[0].encoded(rows[0]) != readers[1].encoded(rows[1]):
        raise InputError(
            f"{readers[0].folder} and {readers[1].folder} cannot be compared: the image {name} is not the same in "
            f"both; parse the same files with both parsers"
        )
    first, second = ((reader.label_map(row), reader.mask(row)) for reader, row in zip(readers, rows, strict=True))
    try:
        return tally.add((first[0], second[0]), (first[1], second[1]))
    except ValueError as error:
        raise InputError(
            f"the label maps of {name} in {readers[0].folder} and {readers[1].folder} cannot be compared ({error}): "
            f"run ccaf-pipeline parse --verify"
        ) from error


def _palettes(readers: Readers) -> tuple[Palette, Palette]:
    """Colours of either parser's labels: a label that both have has one colour."""
    names = [reader.metadata.labels for reader in readers]
    palette = label_palette(len(names[0]) + len(names[1]))
    second = palette[len(names[0]) : len(names[0]) + len(names[1])].copy()
    for row, column in match_labels(*names):
        second[column] = palette[row]
    return palette[: len(names[0])], second


def _pair(
    matched: Matched,
    place: int,
    agreement: ImageAgreement,
    palettes: tuple[Palette, Palette],
    found: tuple[set[int], set[int]],
) -> Pair:
    readers, rows = matched.readers, [int(rows[place]) for rows in matched.rows]
    image = shrink_image(readers[0].image(rows[0]), SHEET_BOX)
    card = image_card(matched.ids, place)
    labels, masks, covered = [], [], []
    for side, (reader, row) in enumerate(zip(readers, rows, strict=True)):
        full = reader.label_map(row)
        found[side].update(int(value) for value in np.unique(full))
        title = f"{SIDES[side]}: {reader.metadata.parser}"
        overlay = label_overlay(image, shrink_labels(full, SHEET_BOX), palettes[side])
        labels.append((title, photo(overlay, f"labels by {title}")))
        masks.append(shrink_labels(reader.mask(row).astype(np.uint8), SHEET_BOX))
        shielded = shrink_image(reader.shielded(row), SHEET_BOX)
        covered.append((f"{SIDES[side]}: shielding", photo(shielded, f"shielding image by {title}")))
    parts = np.choose(masks[0] + 2 * masks[1], np.array([0, 2, 3, 1], dtype=np.uint8))
    pictures = (
        ("image", photo(image, f"{card.image_id}, {card.text}")),
        *labels,
        ("clothes masks", photo(label_overlay(image, parts, _MASKS), "both clothes masks over each other")),
        *covered,
    )
    flags = tuple(tuple(reader.ids.flags[row]) for reader, row in zip(readers, rows, strict=True))
    return Pair(card, pictures, agreement, (flags[0], flags[1]))


def _legend(
    readers: Readers, palettes: tuple[Palette, Palette], found: tuple[set[int], set[int]]
) -> tuple[SharedLegend, ...]:
    """The labels that occur, those of the first parser before those that only the second has."""
    names = [reader.metadata.labels for reader in readers]
    of_first = {column: row for row, column in match_labels(*names)}
    entries: dict[tuple[int, int], list[str]] = {}
    for side, reader in enumerate(readers):
        covers = set(reader.metadata.clothes_labels)
        for number in sorted(found[side] - {0}):
            key = (0, of_first[number]) if side == 1 and number in of_first else (side, number)
            entries.setdefault(key, [])
            if names[side][number] in covers:
                entries[key].append(SIDES[side])
    return tuple(
        SharedLegend(names[side][number], hex_colour(palettes[side][number]), " and ".join(by))
        for (side, number), by in sorted(entries.items())
    )


def _notes(matched: Matched) -> tuple[str, ...]:
    return tuple(
        f"{count:,} images were parsed by {SIDES[side]} ({matched.readers[side].metadata.parser}) only: the other "
        f"parser could not use them. They are not compared."
        for side, count in enumerate(matched.only)
        if count
    )
