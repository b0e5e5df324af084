"""Draws shapes into a map of part numbers, at twice the image's size, so that label and colour share one geometry."""

import math
from collections.abc import Sequence
from enum import IntEnum, auto
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

SUPERSAMPLING: Final = 2
_SHIFT: Final = 4
_ARC: Final = np.linspace(-math.pi / 2, math.pi / 2, 7)
_HALF_CIRCLE: Final = np.stack([np.cos(_ARC), np.sin(_ARC)], axis=1)
_ROUND: Final = np.linspace(0, 2 * math.pi, 24, endpoint=False)
_CIRCLE: Final = np.stack([np.cos(_ROUND), np.sin(_ROUND)], axis=1)

Point = tuple[float, float]
PartMap = NDArray[np.uint8]


class Part(IntEnum):
    """What a pixel belongs to; finer than the labels, because neighbours of one label have different colours."""

    BACKGROUND = 0
    BAG = auto()
    STRAP = auto()
    HAT = auto()
    HAIR = auto()
    HAIR_TIE = auto()
    SUNGLASSES = auto()
    FACE = auto()
    NECK = auto()
    EYE = auto()
    BROW = auto()
    NOSE = auto()
    MOUTH = auto()
    BEARD = auto()
    GLASSES = auto()
    UPPER = auto()
    LEFT_SLEEVE = auto()
    RIGHT_SLEEVE = auto()
    TRIM = auto()
    PRINT = auto()
    INNER = auto()
    LOWER = auto()
    LEFT_LOWER = auto()
    RIGHT_LOWER = auto()
    SCARF = auto()
    LEFT_SOCK = auto()
    RIGHT_SOCK = auto()
    LEFT_ARM = auto()
    RIGHT_ARM = auto()
    LEFT_LEG = auto()
    RIGHT_LEG = auto()
    LEFT_SHOE = auto()
    RIGHT_SHOE = auto()


class Canvas:
    """A map of part numbers that later shapes paint over.

    Args:
        height: Of the finished image, in pixels; the map is ``SUPERSAMPLING`` times as large.
        width: Of the finished image, in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.parts: PartMap = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), dtype=np.uint8)

    def polygon(self, points: Sequence[Point] | NDArray[np.float64], part: Part) -> None:
        """Fill a polygon; points are in pixels of the map."""
        fixed = np.rint(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.parts, [fixed], int(part), shift=_SHIFT)

    def limb(self, start: Point, end: Point, start_radius: float, end_radius: float, part: Part) -> None:
        """Fill a tapered limb with round ends."""
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        cos, sin = math.cos(angle), math.sin(angle)
        cap = _HALF_CIRCLE @ np.array([[cos, sin], [-sin, cos]])
        self.polygon(np.concatenate([end_radius * cap + end, start - start_radius * cap]), part)

    def ellipse(self, centre: Point, half_width: float, half_height: float, part: Part, tilt: float = 0.0) -> None:
        """Fill an ellipse; ``tilt`` in radians turns it clockwise."""
        cos, sin = math.cos(tilt), math.sin(tilt)
        axes = np.array([[half_width * cos, half_width * sin], [-half_height * sin, half_height * cos]])
        self.polygon(_CIRCLE @ axes + centre, part)

    def line(self, points: Sequence[Point], thickness: float, part: Part) -> None:
        """Draw a line through points; ``thickness`` in pixels of the map."""
        fixed = np.rint(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(self.parts, [fixed], False, int(part), max(1, round(thickness)), cv2.LINE_8, _SHIFT)
