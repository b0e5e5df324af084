"""What somebody wears, as an outfit for others: the colours of each garment of an image."""

from typing import Final

import cv2
import numpy as np

from pipeline.garments import Region
from pipeline.images import LabelMap, RgbImage
from pipeline.redress.outfits import AnyGarment, DonorGarment, Outfit
from pipeline.redress.regions import NUMBERS, RegionTable, merge_slips

LEAST_PIXELS: Final = 40
"""A smaller garment says too little about its colours."""
_RANKS: Final = 256
_NEIGHBOURS: Final = 0.1
"""Share of the garment's pixels that the tint at one lightness is the mean of."""


def measure_outfit(image: RgbImage, label_map: LabelMap, table: RegionTable) -> Outfit:
    """The garments of a person by their colours; empty if there are none of a sufficient size.

    Args:
        image: uint8 (height, width, 3).
        label_map: uint8 (height, width).
        table: Which labels are garments.
    """
    regions = cv2.LUT(label_map, table.numbers)
    worn = merge_slips(np.bincount(regions.ravel(), minlength=len(NUMBERS) + 1))
    outfit: dict[Region, AnyGarment] = {}
    for name, number in NUMBERS.items():
        if worn[number] != number:
            continue
        inside = regions == number
        whole = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
        pixels = image[whole if np.count_nonzero(whole) >= LEAST_PIXELS else inside]
        if len(pixels) >= LEAST_PIXELS:
            outfit[name] = _measure(pixels)
    return outfit


def _measure(pixels: RgbImage) -> DonorGarment:
    """The colours of some pixels (n, 3) by the rank of their lightness."""
    lab = cv2.cvtColor(pixels[None].astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)[0]
    lab = lab[np.argsort(lab[:, 0], kind="stable")]
    places = np.linspace(0, len(lab) - 1, _RANKS)
    reach = max(1, round(_NEIGHBOURS * len(lab) / 2))
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(lab[:, 1:], axis=0, dtype=np.float64)])
    middle = np.rint(places).astype(np.int64)
    low, high = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, len(lab))
    tint = (sums[high] - sums[low]) / (high - low)[:, None]
    lightness = np.interp(places, np.arange(len(lab)), lab[:, 0])
    return DonorGarment(lightness.astype(np.float32), tint.astype(np.float32))
