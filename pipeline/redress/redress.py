"""One image in another outfit: a pure function of image, label map and outfit.

Each garment keeps its light and its folds and changes its cloth (:mod:`pipeline.redress.shading`). Edges are soft: the
outermost pixels of a garment and the background next to it are mixed, since such pixels show both. Hair, skin, bags
and garments that may not change are never touched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.garments import REGIONS
from pipeline.images import LabelMap, RgbImage
from pipeline.redress.outfits import AnyGarment, Garment, Outfit, garment_of
from pipeline.redress.patterns import pattern_field
from pipeline.redress.regions import NUMBERS, RegionTable, merge_slips
from pipeline.redress.shading import BLENDS, LEVELS, colour_tables, median_levels

Map = NDArray[np.uint8]

EDGE: Final = 1
"""Pixels outside a garment that may change, by at most the garment's share of the 3 x 3 pixels around them."""
_INSIDE_EDGE: Final = 1.4
"""Parsers draw garments rather too small: a pixel within the edge shows more cloth than its neighbourhood says."""
_SCENE_STEP: Final = 4
_WHITE_SHARE: Final = 0.98
_LEAST_LIGHT: Final = 0.6
_CAST: Final = 0.3
"""Share of the image's mean tint that is taken for the tint of its light."""


@dataclass(frozen=True)
class Redressed:
    """An image in another outfit.

    Attributes:
        image: uint8 (height, width, 3); the one that was given where nothing was changed.
        changed: Whether there was a garment to change.
    """

    image: RgbImage
    changed: bool


def redress(image: RgbImage, label_map: LabelMap, outfit: Outfit, table: RegionTable) -> Redressed:
    """Change the clothes that are worn in an image.

    Args:
        image: RGB uint8 (height, width, 3); it is not written to.
        label_map: uint8 (height, width).
        outfit: The garments to wear; regions that it has nothing for stay as they are.
        table: Which labels are garments that may change.

    Raises:
        ValueError: Image and label map differ in size.
    """
    if image.shape[:2] != label_map.shape:
        raise ValueError(f"an image of {image.shape[:2]} and a label map of {label_map.shape} do not fit")
    garments = {number: garment_of(outfit, name) for name, number in NUMBERS.items()}
    bare = [number for number, garment in garments.items() if garment is None]
    numbers = np.where(np.isin(table.numbers, bare), np.uint8(0), table.numbers) if bare else table.numbers
    regions = np.asarray(cv2.LUT(label_map, numbers), dtype=np.uint8)
    left, top, width, height = cv2.boundingRect(regions)
    if not width:
        return Redressed(image, False)
    window = _window(top, left, height, width, image.shape[:2])
    part, inside = np.ascontiguousarray(image[window]), np.ascontiguousarray(regions[window])
    lightness = np.asarray(cv2.extractChannel(cv2.cvtColor(part, cv2.COLOR_RGB2LAB), 0), dtype=np.uint8)
    new = _dyed(lightness, inside, garments, _scene(image, regions), cv2.boundingRect(label_map)[3])
    changed = image.copy()
    background = cv2.LUT(label_map[window], table.background.view(np.uint8)).view(np.bool_)
    changed[window] = _with_soft_edges(part, new, inside, background)
    return Redressed(changed, True)


def _window(top: int, left: int, height: int, width: int, size: tuple[int, ...]) -> tuple[slice, slice]:
    """The garments' box with room for their edge."""
    return (
        slice(max(0, top - EDGE), min(size[0], top + height + EDGE)),
        slice(max(0, left - EDGE), min(size[1], left + width + EDGE)),
    )


def _scene(image: RgbImage, regions: Map) -> tuple[float, tuple[float, float]]:
    """Light and cast of what is no garment, see :func:`colour_tables`."""
    small = np.ascontiguousarray(image[::_SCENE_STEP, ::_SCENE_STEP])
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[regions[::_SCENE_STEP, ::_SCENE_STEP] == 0]
    if not len(lab):
        return 1.0, (0.0, 0.0)
    rank = int(_WHITE_SHARE * (len(lab) - 1))
    white = float(np.partition(lab[:, 0], rank)[rank])
    a, b = (total / len(lab) - 128 for total in cv2.sumElems(lab[None])[1:3])
    return min(max(white / 240, _LEAST_LIGHT), 1.0), (_CAST * a, _CAST * b)


def _dyed(
    lightness: Map,
    regions: Map,
    garments: Mapping[int, AnyGarment | None],
    scene: tuple[float, tuple[float, float]],
    person: int,
) -> RgbImage:
    """The new colours of all pixels in a garment; those of others mean nothing."""
    rows = len(REGIONS) + 1
    keys = regions.astype(np.uint16) * np.uint16(LEVELS) + lightness
    histograms = np.bincount(keys.ravel(), minlength=rows * LEVELS).reshape(rows, LEVELS)
    histograms[0] = 0
    counts = histograms.sum(axis=1)
    slips = merge_slips(counts)
    worn = {
        number: garment
        for number in np.flatnonzero(counts).tolist()
        if (garment := garments[int(slips[number])] or garments[number]) is not None
    }
    present = histograms[list(worn)]
    medians = median_levels(present)
    found = colour_tables(list(worn.values()), present, medians, *scene)
    most_blends = max(len(colours) for colours in found)
    tables = np.zeros((rows, most_blends, LEVELS, 4), dtype=np.uint8)  # four bytes a colour are one number to look up
    offsets = np.zeros_like(keys) if most_blends > 1 else None
    for (number, garment), colours, median in zip(worn.items(), found, medians.tolist(), strict=True):
        tables[number, : len(colours), :, :3] = colours
        if offsets is not None and len(colours) > 1 and isinstance(garment, Garment):
            _lay_on(garment, regions == number, lightness, median, person, offsets)
    if offsets is not None:
        keys = regions.astype(np.uint16) * np.uint16(LEVELS * most_blends) + lightness + offsets
    packed = np.take(tables.view(np.uint32).reshape(-1), keys)
    return np.asarray(cv2.cvtColor(packed.view(np.uint8).reshape(*keys.shape, 4), cv2.COLOR_RGBA2RGB), dtype=np.uint8)


def _lay_on(
    garment: Garment, inside: NDArray[np.bool_], lightness: Map, median: int, person: int, offsets: NDArray[np.uint16]
) -> None:
    """Write which mixture of a pattern's colours the pixels of a garment have, times the levels of a table."""
    left, top, width, height = cv2.boundingRect(inside.astype(np.uint8))
    box = (slice(top, top + height), slice(left, left + width))
    folds = (lightness[box].astype(np.float32) - np.float32(median)) * np.float32(100 / 255)
    field = pattern_field(garment, (height, width), person, np.where(inside[box], folds, np.float32(0)))
    levels = np.rint(field * (BLENDS - 1)).astype(np.uint16) * np.uint16(LEVELS)
    np.copyto(offsets[box], levels, where=inside[box])


def _with_soft_edges(old: RgbImage, new: RgbImage, regions: Map, background: NDArray[np.bool_]) -> RgbImage:
    """New pixels in garments, mixed with old ones at the edge."""
    mask = cv2.threshold(regions, 0, 255, cv2.THRESH_BINARY)[1]
    cover = cv2.blur(mask, (3, 3), borderType=cv2.BORDER_REPLICATE)
    made = np.ascontiguousarray(new)
    cv2.copyTo(old, cv2.bitwise_not(mask), made)
    difference = cv2.subtract(made, old, dtype=cv2.CV_16S)  # zero outside
    spread = cv2.blur(difference, (3, 3), borderType=cv2.BORDER_REPLICATE).reshape(-1, 3)
    flat, before, shift = made.reshape(-1, 3), old.reshape(-1, 3), difference.reshape(-1, 3)
    inner = np.flatnonzero(cover < mask)
    share = np.minimum(cover.take(inner).astype(np.float32) * np.float32(_INSIDE_EDGE / 255), np.float32(1))
    flat[inner] = np.rint(before.take(inner, axis=0) + share[:, None] * shift.take(inner, axis=0)).astype(np.uint8)
    outer = np.flatnonzero((cover > mask) & background)
    mixed = before.take(outer, axis=0) + spread.take(outer, axis=0)
    flat[outer] = np.minimum(np.maximum(mixed, 0), 255).astype(np.uint8)
    return made
