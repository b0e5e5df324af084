"""New colours for old lightness: tables that keep the light and the folds of a garment and change its cloth.

A lit surface of one colour is that colour times the light. In CIELAB, where L + 16 goes with the cube root of light,
this is: (L + 16), a and b of the cloth are all multiplied by the same factor. So the lightness of a pixel relative to
its garment's median says how it is lit, and the new cloth is lit in the same way.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.redress.outfits import AnyGarment, DonorGarment, Garment

Histograms = NDArray[np.int64]
Rgb = NDArray[np.uint8]

LEVELS: Final = 256
"""Values of lightness, of 8-bit CIELAB: 255 is 100."""
BLENDS: Final = 9
"""Mixtures of a pattern's two colours, the pure ones included."""
_SHARES: Final[Mapping[int, NDArray[np.float64]]] = {count: np.linspace(0.0, 1.0, count) for count in (1, BLENDS)}
"""Of a pattern's second colour in each mixture, by their number."""
_OFFSET: Final = 16.0
_GAINS: Final = (0.4, 2.3)
"""Least and greatest change of contrast: black cloth keeps some folds, white cloth does not show the noise of black."""
_SLOPES: Final = (0.25, 2.2)
_KNEE: Final = 84.0
"""Above this lightness contrast fades, so that lit folds of bright cloth do not burn out."""
_FLOOR: Final = 2.0
_LIGHT: Final = np.arange(LEVELS, dtype=np.float64) * (100.0 / (LEVELS - 1))


def median_levels(histograms: Histograms) -> NDArray[np.int64]:
    """The median of each histogram, int64 (n,); none of them (n, 256) is empty."""
    cumulated = np.cumsum(histograms, axis=1)
    return np.asarray((cumulated >= cumulated[:, -1:] / 2).argmax(axis=1), dtype=np.int64)


def _fade(light: NDArray[np.float64]) -> NDArray[np.float64]:
    room = 100.0 - _KNEE
    bright = _KNEE + room * (1.0 - np.exp(-np.maximum(light - _KNEE, 0.0) / room))
    faded: NDArray[np.float64] = np.maximum(np.where(light > _KNEE, bright, light), _FLOOR)
    return faded


def _to_rgb(light: NDArray[np.float64], tint: NDArray[np.float64]) -> Rgb:
    """CIELAB, lightness (n, m) and tint (n, m, 2), to RGB uint8 (n, m, 3), clipped to what a screen shows."""
    lab = np.empty((*light.shape, 3), dtype=np.float32)
    lab[..., 0], lab[..., 1:] = light, tint
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    clipped: Rgb = np.rint(np.minimum(np.maximum(rgb, 0), 1) * 255).astype(np.uint8)
    return clipped


def _lit(colours: NDArray[np.float64], medians: NDArray[np.float64]) -> Rgb:
    """RGB of cloths (n, 3) at each lightness of the old ones with these medians (n,), (n, 256, 3)."""
    light, tint, median = colours[:, :1], colours[:, None, 1:], medians[:, None]
    gain = np.clip((light + _OFFSET) / (median + _OFFSET), *_GAINS)
    new = _fade(light + gain * (_LIGHT - median))
    factor = np.clip((new + _OFFSET) / (light + _OFFSET), 0.3, 1.25)
    # towards white there is no room for colour
    factor = factor * np.clip((101.0 - new) / (101.0 - _KNEE), 0.0, 1.0)
    return _to_rgb(new, tint * factor[..., None])


def _donated(donor: DonorGarment, histogram: NDArray[np.int64], median: int) -> Rgb:
    """RGB at each old lightness: the same rank among the donor's pixels has this colour, (1, 256, 3).

    The slope is bounded, so that the noise of plain cloth does not become the stripes of its donor.
    """
    lightness = donor.lightness.astype(np.float64)
    ranks = (np.cumsum(histogram) - histogram / 2) / histogram.sum() * (len(lightness) - 1)
    wanted = np.interp(ranks, np.arange(len(lightness)), lightness)
    step = 100.0 / (LEVELS - 1)
    slopes = np.zeros(LEVELS)
    np.subtract(wanted[1:], wanted[:-1], out=slopes[1:])
    new = np.cumsum(np.clip(slopes, _SLOPES[0] * step, _SLOPES[1] * step))
    new = _fade(new - new[median] + float(np.median(donor.lightness)))
    tint = [np.interp(new, lightness, donor.tint[:, channel]) for channel in (0, 1)]
    return _to_rgb(new[None], np.stack(tint, axis=-1)[None])


def blends_of(garment: AnyGarment) -> int:
    """How many tables a garment has: one, or one for each mixture of its two colours."""
    return BLENDS if isinstance(garment, Garment) and garment.pattern != "plain" else 1


def colour_tables(
    garments: Sequence[AnyGarment],
    histograms: Histograms,
    medians: NDArray[np.int64],
    light: float,
    cast: tuple[float, float],
) -> list[Rgb]:
    """RGB of garments at each lightness of the old ones.

    Args:
        garments: The new ones.
        histograms: Pixels of the old ones by lightness, (garments, 256).
        medians: Of the histograms, see :func:`median_levels`.
        light: Of the scene, 1 where white is white: drawn colours are darker in a dark image.
        cast: Of the scene, a and b: drawn colours take it on.

    Returns:
        For each garment, uint8 (:func:`blends_of`, 256, 3).
    """
    drawn = {place: garment for place, garment in enumerate(garments) if isinstance(garment, Garment)}
    tables = {
        place: _donated(garment, histograms[place], int(medians[place]))
        for place, garment in enumerate(garments)
        if isinstance(garment, DonorGarment)
    }
    if drawn:
        tables |= zip(drawn, _drawn(list(drawn.values()), medians[list(drawn)], light, cast), strict=True)
    return [tables[place] for place in range(len(garments))]


def _drawn(
    garments: Sequence[Garment], medians: NDArray[np.int64], light: float, cast: tuple[float, float]
) -> list[Rgb]:
    """See :func:`colour_tables`, of garments whose colours are drawn: all at once, which is far faster."""
    counts = [blends_of(garment) for garment in garments]
    colours = np.array([(garment.colour, garment.second) for garment in garments])
    seen = np.repeat(light * colours + np.array((0.0, *cast)), counts, axis=0)
    shares = np.concatenate([_SHARES[count] for count in counts])[:, None]
    lit = _lit(seen[:, 0] + shares * (seen[:, 1] - seen[:, 0]), np.repeat(_LIGHT[medians], counts))
    ends = np.cumsum(counts).tolist()
    return [lit[end - count : end] for end, count in zip(ends, counts, strict=True)]
