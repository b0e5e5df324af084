"""From a map of parts to colours and to LIP labels."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.walkers.canvas import Part, PartMap
from pipeline.datasets.walkers.factors import (
    BAG_COLOURS,
    FACTORS,
    HAIR_COLOURS,
    SHOE_COLOURS,
    TEXTURES,
    Identity,
    skin_colour,
)
from pipeline.datasets.walkers.wardrobe import Garment, Outfit
from pipeline.images import LabelMap
from pipeline.labels import LIP

FloatImage = NDArray[np.float32]

_LABEL_NAMES: Final[dict[Part, str]] = {
    Part.HAT: "hat",
    Part.HAIR: "hair",
    Part.HAIR_TIE: "hair",
    Part.SUNGLASSES: "sunglasses",
    **dict.fromkeys(
        (
            Part.FACE, Part.NECK, Part.EYE, Part.BROW, Part.NOSE, Part.MOUTH, Part.BEARD, Part.GLASSES,
        ),
        "face",
    ),
    **dict.fromkeys(
        (Part.UPPER, Part.LEFT_SLEEVE, Part.RIGHT_SLEEVE, Part.TRIM, Part.PRINT, Part.INNER), "upper-clothes"
    ),
    Part.SCARF: "scarf",
    Part.LEFT_SOCK: "socks",
    Part.RIGHT_SOCK: "socks",
    Part.LEFT_ARM: "left-arm",
    Part.RIGHT_ARM: "right-arm",
    Part.LEFT_LEG: "left-leg",
    Part.RIGHT_LEG: "right-leg",
    Part.LEFT_SHOE: "left-shoe",
    Part.RIGHT_SHOE: "right-shoe",
}  # fmt: skip
_UPPER_PARTS: Final = (Part.UPPER, Part.LEFT_SLEEVE, Part.RIGHT_SLEEVE)
_LOWER_PARTS: Final = (Part.LOWER, Part.LEFT_LOWER, Part.RIGHT_LOWER)
_SHADED_SIDE: Final = 0.93
"""Limbs are a little darker than the trunk, so that they stand out from it."""


def label_table(outfit: Outfit) -> NDArray[np.uint8]:
    """LIP label of every part number, (256,), for a person in this outfit; bags are background."""
    names = dict(_LABEL_NAMES)
    upper = FACTORS["upper_type"].names[outfit.upper.kind]
    label = {"jacket": "coat", "coat": "coat", "dress": "dress"}.get(upper, "upper-clothes")
    names |= dict.fromkeys((*_UPPER_PARTS, Part.TRIM, Part.PRINT), label)
    skirts = ("short skirt", "long skirt")
    lower = "skirt" if FACTORS["lower_type"].names[outfit.lower.kind] in skirts else "pants"
    names |= dict.fromkeys(_LOWER_PARTS, lower)
    table = np.zeros(256, dtype=np.uint8)
    for part, name in names.items():
        table[part] = LIP.labels.index(name)
    return table


def halve_labels(labels: LabelMap) -> LabelMap:
    """Half the size, (2H, 2W) -> (H, W): the label that most of the four pixels have; the upper left one in a tie."""
    a, b, c, d = labels[::2, ::2], labels[::2, 1::2], labels[1::2, ::2], labels[1::2, 1::2]
    others = np.where((b == c) | (b == d), b, np.where(c == d, c, a))
    majority: LabelMap = np.where((a == b) | (a == c) | (a == d), a, others)
    return majority


def _palette(identity: Identity, outfit: Outfit) -> FloatImage:
    """RGB of every part number, (256, 3)."""
    palette = np.zeros((256, 3), dtype=np.float32)
    skin = np.array(skin_colour(identity.skin_tone))
    hair = np.array(list(HAIR_COLOURS.values())[identity.hair_colour]) + np.array(identity.hair_tint)
    shoes = np.array(list(SHOE_COLOURS.values())[outfit.shoe_colour])
    bag = np.array(list(BAG_COLOURS.values())[max(identity.bag_colour, 0)])
    palette[Part.BAG], palette[Part.STRAP] = bag, bag * 0.75
    palette[Part.HAT] = palette[Part.SCARF] = palette[Part.HAIR_TIE] = outfit.extra
    palette[Part.HAIR], palette[Part.BEARD], palette[Part.BROW] = hair, hair * 0.9 + skin * 0.06, hair * 0.75
    palette[Part.FACE], palette[Part.NECK] = skin, skin * 0.88
    palette[Part.EYE], palette[Part.GLASSES], palette[Part.SUNGLASSES] = (36, 30, 30), (30, 30, 34), (22, 22, 26)
    palette[Part.NOSE], palette[Part.MOUTH] = skin * 0.86, skin * 0.6 + np.array((56, 8, 12))
    palette[Part.UPPER] = outfit.upper.rgb
    palette[Part.TRIM], palette[Part.PRINT] = np.array(outfit.upper.rgb) * 0.7, outfit.upper.second
    palette[Part.INNER], palette[Part.LOWER] = outfit.inner, outfit.lower.rgb
    palette[[Part.LEFT_SLEEVE, Part.RIGHT_SLEEVE]] = np.array(outfit.upper.rgb) * _SHADED_SIDE
    palette[[Part.LEFT_LOWER, Part.RIGHT_LOWER]] = np.array(outfit.lower.rgb) * np.array([[0.97], [0.93]])
    palette[[Part.LEFT_SOCK, Part.RIGHT_SOCK]] = (206, 204, 200)
    palette[[Part.LEFT_ARM, Part.RIGHT_ARM, Part.LEFT_LEG, Part.RIGHT_LEG]] = skin * 0.96
    palette[[Part.LEFT_SHOE, Part.RIGHT_SHOE]] = shoes
    return palette


def _pattern(texture: str, across: FloatImage, down: FloatImage, period: float) -> NDArray[np.bool_] | None:
    """Where the second colour of a texture lies, (H, W) or what broadcasts to it; None for none.

    Args:
        texture: Name in ``TEXTURES``.
        across: Columns in pixels, (1, W).
        down: Rows in pixels, (H, 1).
        period: Size of the pattern in pixels.
    """
    if texture == "striped":
        return (down % period) < 0.45 * period
    if texture == "pinstriped":
        return (across % (0.8 * period)) < 0.28 * period
    if texture == "checked":
        lines = (down % period) < 0.4 * period
        return lines ^ ((across % period) < 0.4 * period)
    if texture == "dotted":
        x, y = across % period - period / 2, down % period - period / 2
        return x * x + y * y < (0.3 * period) ** 2
    return None


def _add_texture(
    image: FloatImage,
    parts: PartMap,
    garment: Garment,
    members: tuple[Part, ...],
    origin: tuple[float, float],
    unit: float,
) -> None:
    if TEXTURES[garment.texture] in ("plain", "printed"):
        return
    across = np.arange(parts.shape[1], dtype=np.float32)[None] - np.float32(origin[0])
    down = np.arange(parts.shape[0], dtype=np.float32)[:, None] - np.float32(origin[1])
    pattern = _pattern(TEXTURES[garment.texture], across, down, garment.period * unit)
    if pattern is not None:
        table = np.zeros(256, dtype=np.bool_)
        table[list(members)] = True
        where = pattern & table[parts]
        image[where] = garment.second


def paint(
    parts: PartMap,
    identity: Identity,
    outfit: Outfit,
    origin: tuple[float, float],
    unit: float,
    light: float,
    folds: FloatImage,
) -> FloatImage:
    """Colour a map of parts; the background stays black.

    Args:
        parts: Part numbers, (H, W).
        identity: Gives skin, hair and bag their colours.
        outfit: Gives the clothes their colours and textures.
        origin: Column and row of a point of the body from which textures are counted, in pixels.
        unit: The body's height in pixels.
        light: From -1, light from the left, to 1, from the right.
        folds: Brightness of cloth, around 1, (H, W).

    Returns:
        RGB in grey levels, (H, W, 3).
    """
    image: FloatImage = np.take(_palette(identity, outfit), parts, axis=0)
    _add_texture(image, parts, outfit.upper, _UPPER_PARTS, origin, unit)
    _add_texture(image, parts, outfit.lower, _LOWER_PARTS, origin, unit)
    edges = cv2.morphologyEx(parts, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    shade = 1 - 0.2 * cv2.blur(edges.astype(np.float32), (3, 3))
    columns = np.arange(parts.shape[1], dtype=np.float32)
    shade *= (1 + light * np.clip((columns - origin[0]) / (0.3 * unit), -1, 1)).astype(np.float32)
    shade *= folds
    shaded: FloatImage = cv2.multiply(image, cv2.merge([shade, shade, shade]))
    return shaded
