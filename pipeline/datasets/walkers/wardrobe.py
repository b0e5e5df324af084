"""Garments and outfits: a pool that all people share, from which outfits are drawn independently of who wears them."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.datasets.walkers.factors import COLOURS, FACTORS, NOT_APPLICABLE, SHOE_COLOURS, TEXTURES, value_of

STANDARD_POOL: Final = 36, 24
"""Upper and lower garments of the pool: a garment is worn by several people, an outfit by hardly two."""
HARD_POOL: Final = 12, 8
"""One upper garment a colour; several people wear the same upper and lower garment together."""
TINT: Final = 9.0
"""Standard deviation of a garment's colour around its named colour, in grey levels."""

_SLEEVES_OF = {
    "t-shirt": (1,),
    "shirt": (1, 2),
    "sweater": (2,),
    "tank top": (0,),
    "jacket": (2,),
    "coat": (2,),
    "dress": (0, 1, 2),
}
_UPPER_WEIGHTS = (0.22, 0.2, 0.17, 0.08, 0.15, 0.1, 0.08)
_LOWER_WEIGHTS = (0.58, 0.18, 0.13, 0.11)
_UPPER_TEXTURES = (0.45, 0.15, 0.08, 0.12, 0.08, 0.12)
_LOWER_TEXTURES = (0.76, 0.0, 0.12, 0.12, 0.0, 0.0)

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Garment:
    """One piece of clothing.

    Attributes:
        kind: Value of ``upper_type`` or ``lower_type``.
        colour: Number in ``COLOURS``.
        texture: Number in ``TEXTURES``.
        sleeves: Number in ``SLEEVES``; 0 for lower garments.
        rgb: Its own shade of the colour.
        second: RGB of stripes, checks, dots or print.
        period: Size of the pattern, as a share of the body's height.
        loose: 0 tight, 1 loose.
    """

    kind: int
    colour: int
    texture: int
    sleeves: int
    rgb: Rgb
    second: Rgb
    period: float
    loose: float


@dataclass(frozen=True)
class Outfit:
    """What a person wears.

    Attributes:
        upper: Top, coat or dress.
        lower: Trousers or skirt; under a dress it is not seen.
        inner: RGB of the shirt under a jacket or coat.
        shoe_colour: Number in ``SHOE_COLOURS``.
        boots: Whether the shoes reach up to the calf.
        hat: 1 with a cap.
        scarf: 1 with a scarf.
        extra: RGB of cap and scarf.
    """

    upper: Garment
    lower: Garment
    inner: Rgb
    shoe_colour: int
    boots: bool
    hat: int
    scarf: int
    extra: Rgb

    @property
    def is_dress(self) -> bool:
        """Whether one garment covers body and hips."""
        return self.upper.kind == value_of("upper_type", "dress")

    def values(self) -> dict[str, int]:
        """Value of every clothes factor."""
        lower = {"type": self.lower.kind, "colour": self.lower.colour, "texture": self.lower.texture}
        return {
            "upper_type": self.upper.kind,
            "upper_colour": self.upper.colour,
            "upper_texture": self.upper.texture,
            "upper_sleeves": self.upper.sleeves,
            **{f"lower_{name}": NOT_APPLICABLE if self.is_dress else value for name, value in lower.items()},
            "fit": int(self.upper.loose > 0.5),
            "shoe_colour": self.shoe_colour,
            "hat": self.hat,
            "scarf": self.scarf,
        }


@dataclass(frozen=True)
class Wardrobe:
    """The garments that outfits are put together from."""

    uppers: tuple[Garment, ...]
    lowers: tuple[Garment, ...]


def _shade(generator: np.random.Generator, colour: int) -> Rgb:
    base = list(COLOURS.values())[colour]
    red, green, blue = (float(np.clip(value + generator.normal(0, TINT), 12, 244)) for value in base)
    return red, green, blue


def _draw_garment(
    generator: np.random.Generator, kind: int, sleeves: int, textures: tuple[float, ...], colour: int | None = None
) -> Garment:
    if colour is None:
        colour = int(generator.integers(len(COLOURS)))
    other = (colour + int(generator.integers(1, len(COLOURS)))) % len(COLOURS)
    return Garment(
        kind=kind,
        colour=colour,
        texture=int(generator.choice(len(TEXTURES), p=textures)),
        sleeves=sleeves,
        rgb=_shade(generator, colour),
        second=_shade(generator, other),
        period=float(generator.uniform(0.03, 0.055)),
        loose=float(generator.random()),
    )


def draw_upper(generator: np.random.Generator, colour: int | None = None) -> Garment:
    """Draw a top, coat or dress; ``colour`` fixes its colour."""
    kind = int(generator.choice(len(_UPPER_WEIGHTS), p=_UPPER_WEIGHTS))
    sleeves = int(generator.choice(_SLEEVES_OF[FACTORS["upper_type"].names[kind]]))
    return _draw_garment(generator, kind, sleeves, _UPPER_TEXTURES, colour)


def draw_lower(generator: np.random.Generator, colour: int | None = None) -> Garment:
    """Draw trousers or a skirt; ``colour`` fixes its colour."""
    kind = int(generator.choice(len(_LOWER_WEIGHTS), p=_LOWER_WEIGHTS))
    return _draw_garment(generator, kind, 0, _LOWER_TEXTURES, colour)


def draw_wardrobe(generator: np.random.Generator, pool: tuple[int, int] = STANDARD_POOL) -> Wardrobe:
    """Draw a pool of so many upper and lower garments; the colours take turns, so that all are there equally often."""
    uppers, lowers = pool
    return Wardrobe(
        tuple(draw_upper(generator, index % len(COLOURS)) for index in range(uppers)),
        tuple(draw_lower(generator, index % len(COLOURS)) for index in range(lowers)),
    )


def _draw_extras(generator: np.random.Generator, upper: Garment, lower: Garment) -> Outfit:
    return Outfit(
        upper=upper,
        lower=lower,
        inner=_shade(generator, int(generator.integers(len(COLOURS)))),
        shoe_colour=int(generator.integers(len(SHOE_COLOURS))),
        boots=bool(generator.random() < 0.15),
        hat=int(generator.random() < 0.07),
        scarf=int(generator.random() < 0.07),
        extra=_shade(generator, int(generator.integers(len(COLOURS)))),
    )


def draw_free_outfit(generator: np.random.Generator) -> Outfit:
    """Draw an outfit of garments that nobody else has."""
    return _draw_extras(generator, draw_upper(generator), draw_lower(generator))


def draw_outfits(generator: np.random.Generator, wardrobe: Wardrobe, count: int) -> list[Outfit]:
    """Draw a person's outfits from the pool; no upper and no lower garment comes twice while the pool lasts."""

    def pick(pool: tuple[Garment, ...]) -> list[Garment]:
        order = np.concatenate([generator.permutation(len(pool)) for _ in range(-(-count // len(pool)))])
        return [pool[index] for index in order[:count]]

    pairs = zip(pick(wardrobe.uppers), pick(wardrobe.lowers), strict=True)
    return [_draw_extras(generator, upper, lower) for upper, lower in pairs]
