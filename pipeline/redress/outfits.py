"""Outfits: which colours and patterns the garments of a person have. Drawn from a seed, or taken from somebody else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.garments import REGIONS, Region
from pipeline.redress.settings import Kind

Colour = tuple[float, float, float]
"""CIELAB: lightness 0 to 100, a and b."""
Pattern = Literal["plain", "stripes", "pinstripes", "checks", "plaid", "print"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


@dataclass(frozen=True)
class Garment:
    """A garment of a colour, or of two in a pattern.

    Attributes:
        colour: Of the cloth.
        second: Of the pattern; the same as ``colour`` where it is plain.
        pattern: How the two are laid out.
        period: From one stripe, check or motif to the next, as a share of the person's height.
        seed: Of the pattern's place and of a print's motifs.
    """

    colour: Colour
    second: Colour
    pattern: Pattern = "plain"
    period: float = 0.06
    seed: int = 0


@dataclass(frozen=True, eq=False)
class DonorGarment:
    """The colours of a garment in an image.

    Attributes:
        lightness: Lightness at evenly spaced ranks, ascending, float32 (256,), in CIELAB's units.
        tint: Mean a and b at each of those ranks, float32 (256, 2).
    """

    lightness: NDArray[np.float32]
    tint: NDArray[np.float32]


AnyGarment: TypeAlias = Garment | DonorGarment
Outfit: TypeAlias = Mapping[Region, AnyGarment]

_FALLBACKS: Final[Mapping[Region, tuple[Region, ...]]] = {
    "upper": ("coat", "dress"),
    "coat": ("upper", "dress"),
    "dress": ("upper", "coat"),
    "lower": ("dress",),
}
"""What is worn in the place of a garment that an outfit lacks: somebody in a dress lends it to shirt and trousers."""


def garment_of(outfit: Outfit, region: Region) -> AnyGarment | None:
    """The garment that an outfit has for a region; None: the region stays as it is."""
    for name in (region, *_FALLBACKS.get(region, ())):
        if name in outfit:
            return outfit[name]
    return None


_CLOTHS: Final[tuple[tuple[Colour, float, float], ...]] = (
    # colour, how often above the waist, how often below
    ((11, 0, 0), 5, 6),  # black
    ((28, 0, -2), 3, 4),  # charcoal
    ((55, 0, 0), 3, 3),  # grey
    ((76, 0, 0), 2, 1),  # light grey
    ((93, 0, 2), 4, 1),  # white
    ((18, 6, -24), 3, 4),  # navy
    ((40, -1, -21), 1, 5),  # denim
    ((62, -4, -17), 1, 3),  # light denim
    ((77, 3, 18), 2, 2),  # beige
    ((58, 2, 23), 1, 2),  # khaki
    ((31, 12, 19), 2, 2),  # brown
    ((40, -7, 22), 2, 1.5),  # olive
    ((30, -22, 11), 2, 0.5),  # bottle green
    ((52, -40, 28), 1.5, 0.3),  # green
    ((43, 58, 36), 3, 0.5),  # red
    ((25, 33, 13), 2, 1),  # burgundy
    ((73, 32, 2), 2, 0.5),  # pink
    ((65, 38, 54), 1.5, 0.3),  # orange
    ((83, 1, 66), 1.5, 0.2),  # yellow
    ((72, -6, -25), 2, 0.7),  # light blue
    ((37, 13, -50), 2.5, 1),  # blue
    ((48, -28, -9), 1.5, 0.3),  # teal
    ((34, 30, -31), 1.5, 0.4),  # purple
    ((69, 17, -18), 1, 0.3),  # lilac
)
_SPREAD: Final = (4.0, 3.5, 3.5)
"""Standard deviation of a drawn colour about the cloth's, in CIELAB."""
_PERIODS: Final[Mapping[Pattern, tuple[float, float]]] = {
    "plain": (0.05, 0.05),
    "stripes": (0.03, 0.09),
    "pinstripes": (0.018, 0.03),
    "checks": (0.03, 0.07),
    "plaid": (0.06, 0.12),
    "print": (0.06, 0.14),
}
_PATTERNED: Final[Mapping[Region, float]] = {"upper": 1.0, "dress": 1.0, "coat": 0.4, "lower": 0.25}
"""Chance that a garment of a textured outfit has a pattern."""
_LEAST_CONTRAST: Final = 22.0
"""Distance in CIELAB of the two colours of a pattern."""


def _draw_colour(generator: np.random.Generator, below: bool) -> Colour:
    shares = np.array([cloth[2 if below else 1] for cloth in _CLOTHS])
    mean = np.array(_CLOTHS[int(generator.choice(len(_CLOTHS), p=shares / shares.sum()))][0])
    light, a, b = (mean + generator.normal(size=3) * _SPREAD).tolist()
    return (min(max(light, 6.0), 95.0), a, b)


def _draw_second(generator: np.random.Generator, first: Colour) -> Colour:
    """A second colour that can be told from the first; after some tries black or white, whichever is farther."""
    for _ in range(8):
        colour = _draw_colour(generator, below=False)
        if float(np.linalg.norm(np.subtract(colour, first))) >= _LEAST_CONTRAST:
            return colour
    return (92.0, 0.0, 0.0) if first[0] < 50 else (12.0, 0.0, 0.0)


def _draw_garment(generator: np.random.Generator, region: Region, textured: bool) -> Garment:
    colour = _draw_colour(generator, below=region in ("lower", "shoes", "hat"))
    second = _draw_second(generator, colour)
    pattern = PATTERNS[int(generator.integers(1, len(PATTERNS)))]
    patterned = float(generator.random()) < _PATTERNED.get(region, 0.0)
    share, seed = float(generator.random()), int(generator.integers(1 << 31))
    if not (textured and patterned):
        return Garment(colour, colour, seed=seed)
    low, high = _PERIODS[pattern]
    return Garment(colour, second, pattern, low + share * (high - low), seed)


def draw_outfit(kind: Kind, seed: int | list[int]) -> Outfit:
    """Garments for every region; the same kind and seed give the same outfit.

    Args:
        kind: ``colour`` or ``texture``; what a donor wears is measured (:mod:`pipeline.redress.donors`).
        seed: As for ``numpy.random.default_rng``.

    Raises:
        ValueError: The kind is ``donor``.
    """
    if kind == "donor":
        raise ValueError("the outfit of a donor is measured, not drawn")
    generator = np.random.default_rng(seed)
    return {region: _draw_garment(generator, region, kind == "texture") for region in REGIONS}
