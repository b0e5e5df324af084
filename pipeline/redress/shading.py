"""New colours for old lightness: tables that keep the light and the folds of a garment and change its cloth.

A lit surface of one colour is that colour times the light. In CIELAB, where L + 16 goes with the cube root of light,
this is: (L + 16), a and b of the cloth are all multiplied by the same factor. So the lightness of a pixel relative to
its garment's median says how it is lit, and the new cloth is lit in the same way.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.redress.outfits import AnyGarment, Colour, DonorGarment, Garment

Histogram = NDArray[np.int64]
Rgb = NDArray[np.uint8]

LEVELS: Final = 256
"""Values of lightness, of 8-bit CIELAB: 255 is 100."""
BLENDS: Final = 9
"""Mixtures of a pattern's two colours, the pure ones included."""
_OFFSET: Final = 16.0
_GAINS: Final = (0.4, 2.3)
"""Least and greatest change of contrast: black cloth keeps some folds, white cloth does not show the noise of black."""
_SLOPES: Final = (0.25, 2.2)
_KNEE: Final = 84.0
"""Above this lightness contrast fades, so that lit folds of bright cloth do not burn out."""
_FLOOR: Final = 2.0
_LIGHT: Final = np.arange(LEVELS, dtype=np.float64) * (100.0 / (LEVELS - 1))


def median_level(histogram: Histogram) -> int:
    """The median of a histogram (256,) that is not empty."""
    return int(np.searchsorted(np.cumsum(histogram), int(histogram.sum()) / 2))


def _fade(light: NDArray[np.float64]) -> NDArray[np.float64]:
    room = 100.0 - _KNEE
    bright = _KNEE + room * (1.0 - np.exp(-np.maximum(light - _KNEE, 0.0) / room))
    faded: NDArray[np.float64] = np.maximum(np.where(light > _KNEE, bright, light), _FLOOR)
    return faded


def _to_rgb(lab: NDArray[np.float64]) -> Rgb:
    """CIELAB (n, 3) to RGB uint8 (n, 3), clipped to what a screen shows."""
    rgb = cv2.cvtColor(lab.astype(np.float32)[None], cv2.COLOR_LAB2RGB)[0]
    clipped: Rgb = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    return clipped


def _lit(colour: NDArray[np.float64], median: float) -> Rgb:
    """RGB of a cloth at each lightness of the old one, (256, 3)."""
    light, tint = colour[0], colour[1:]
    gain = min(max((light + _OFFSET) / (median + _OFFSET), _GAINS[0]), _GAINS[1])
    new = _fade(light + gain * (_LIGHT - median))
    factor = np.clip((new + _OFFSET) / (light + _OFFSET), 0.3, 1.25)
    # towards white there is no room for colour
    factor = factor * np.clip((101.0 - new) / (101.0 - _KNEE), 0.0, 1.0)
    return _to_rgb(np.column_stack([new, tint[None] * factor[:, None]]))


def _donated(donor: DonorGarment, histogram: Histogram) -> Rgb:
    """RGB at each old lightness: the same rank among the donor's pixels has this colour, (256, 3).

    The slope is bounded, so that the noise of plain cloth does not become the stripes of its donor.
    """
    cumulated = np.cumsum(histogram) - histogram / 2
    ranks = cumulated / histogram.sum() * (len(donor.lightness) - 1)
    spaced = np.arange(len(donor.lightness))
    wanted = np.interp(ranks, spaced, donor.lightness.astype(np.float64))
    step = 100.0 / (LEVELS - 1)
    slopes = np.clip(np.diff(wanted, prepend=wanted[0]), _SLOPES[0] * step, _SLOPES[1] * step)
    new = np.cumsum(slopes)
    middle = median_level(histogram)
    new = _fade(new - new[middle] + float(np.median(donor.lightness)))
    tint = [np.interp(new, donor.lightness.astype(np.float64), donor.tint[:, channel]) for channel in (0, 1)]
    return _to_rgb(np.column_stack([new, *tint]))


def blends_of(garment: AnyGarment) -> int:
    """How many tables a garment has: one, or one for each mixture of its two colours."""
    return BLENDS if isinstance(garment, Garment) and garment.pattern != "plain" else 1


def colour_tables(garment: AnyGarment, histogram: Histogram, light: float, cast: tuple[float, float]) -> Rgb:
    """RGB of a garment at each lightness of the old one.

    Args:
        garment: The new one.
        histogram: Pixels of the old one by lightness, (256,).
        light: Of the scene, 1 where white is white: drawn colours are darker in a dark image.
        cast: Of the scene, a and b: drawn colours take it on.

    Returns:
        uint8 (:func:`blends_of`, 256, 3).
    """
    median = float(_LIGHT[median_level(histogram)])
    if isinstance(garment, DonorGarment):
        return _donated(garment, histogram)[None]

    def seen(colour: Colour) -> NDArray[np.float64]:
        shown: NDArray[np.float64] = light * np.array(colour) + np.array((0.0, *cast))
        return shown

    first, second = seen(garment.colour), seen(garment.second)
    shares = np.linspace(0.0, 1.0, blends_of(garment))
    return np.stack([_lit(first + share * (second - first), median) for share in shares])
