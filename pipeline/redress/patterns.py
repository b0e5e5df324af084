"""Patterns on cloth: how much of a garment's second colour each pixel has."""

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.redress.outfits import Garment

Field = NDArray[np.float32]

LEAST_PERIOD: Final = 4.0
"""In pixels: finer patterns cannot be told from noise."""
_TILE: Final = 96
_BEND: Final = 0.05
"""How far folds move a pattern, as a share of its period for each unit of lightness in CIELAB."""


@lru_cache(maxsize=256)
def _print_tile(seed: int) -> Field:
    """Soft blotches that repeat without a seam, float32 (tile, tile) about 0.5."""
    noise = np.random.default_rng(seed).random((_TILE, _TILE), dtype=np.float32)
    tiled = np.tile(noise, (3, 3))
    smooth = cv2.GaussianBlur(tiled, (0, 0), _TILE / 11)[_TILE : 2 * _TILE, _TILE : 2 * _TILE]
    ranks = smooth.ravel().argsort().argsort().reshape(smooth.shape).astype(np.float32)
    tile: Field = ranks / np.float32(smooth.size - 1)
    return tile


def _stripes(position: Field, pixels: float, share: float) -> Field:
    """Stripes over a coordinate in periods; their edges are as soft as one pixel."""
    distance = np.abs(position - np.floor(position) - np.float32(0.5))  # from the middle of a stripe
    soft: Field = np.clip((np.float32(share / 2) - distance) * np.float32(pixels) + np.float32(0.5), 0, 1)
    return soft


def pattern_field(garment: Garment, shape: tuple[int, int], person: int, lightness: Field) -> Field:
    """Share of the second colour in the pixels of a garment's box.

    Args:
        garment: With a pattern.
        shape: Height and width of the box in pixels.
        person: Height of the person in pixels.
        lightness: Of the pixels less the garment's median, in CIELAB's units, float32 (height, width): folds bend the
            pattern.

    Returns:
        float32 (height, width), 0 to 1.
    """
    height, width = shape
    pixels = max(LEAST_PERIOD, garment.period * person)
    first, second = (int(value) / (1 << 16) for value in divmod(garment.seed & 0xFFFFFFFF, 1 << 16))
    bend = cv2.blur(lightness, (3, 3)) * np.float32(_BEND / 10)
    down = (np.arange(height, dtype=np.float32) / np.float32(pixels) + np.float32(first))[:, None] + bend
    middle = np.arange(width, dtype=np.float32) - width // 2
    right = (middle / np.float32(pixels) + np.float32(second))[None, :] + bend
    if garment.pattern == "stripes":
        return _stripes(down, pixels, 0.45)
    if garment.pattern == "pinstripes":
        return _stripes(right, pixels, 0.3)
    if garment.pattern == "checks":
        across, along = _stripes(down, pixels, 0.5), _stripes(right, pixels, 0.5)
        checks: Field = np.abs(across - along)
        return checks
    if garment.pattern == "plaid":
        broad = _stripes(down, pixels, 0.4) + _stripes(right, pixels, 0.4)
        half = np.float32(0.5)
        fine = np.maximum(_stripes(down + half, pixels, 0.08), _stripes(right + half, pixels, 0.08))
        plaid: Field = np.clip(np.float32(0.42) * broad + np.float32(0.6) * fine, 0, 1)
        return plaid
    # whole numbers first: the remainder of a tiny negative float32 is the tile's size itself
    rows = np.floor(down * np.float32(_TILE)).astype(np.int64) % _TILE
    columns = np.floor(right * np.float32(_TILE)).astype(np.int64) % _TILE
    values = _print_tile(garment.seed)[rows, columns]
    motifs: Field = np.clip((values - np.float32(0.62)) * np.float32(12) + np.float32(0.5), 0, 1)
    return motifs
