"""Draws the head: skull, face, hair in six styles, beard, glasses and cap, from any side."""

import math
from dataclasses import dataclass
from typing import Final

from pipeline.datasets.walkers.canvas import Canvas, Part, Point
from pipeline.datasets.walkers.factors import FACTORS, Identity
from pipeline.datasets.walkers.skeleton import Skeleton

PONYTAIL_BEHIND: Final = 0.75
"""From this facing on a ponytail is behind the head."""
_FACE_SEEN: Final = 0.12


def face_half_width(facing: float) -> float:
    """Half width of the visible face in half widths of the head; 0 or less if it is turned away."""
    return 0.56 + 0.33 * facing if facing > 0 else 0.56 + 0.75 * facing


def shows_face(facing: float) -> bool:
    """Whether face, beard and glasses are drawn at all; ``facing`` is 1 towards the camera, -1 away."""
    return face_half_width(facing) > _FACE_SEEN


@dataclass(frozen=True)
class Head:
    """Size and place of a head in pixels of the canvas.

    Attributes:
        centre: Of the skull.
        half_width: Of the skull.
        half_height: Of the skull.
        facing: 1 towards the camera, -1 away.
        turned: 1 to the right of the image, -1 to the left.
    """

    centre: Point
    half_width: float
    half_height: float
    facing: float
    turned: float

    @classmethod
    def of(cls, identity: Identity, skeleton: Skeleton) -> "Head":
        """The head of a person in one image."""
        (chin_x, chin_y), (crown_x, crown_y) = skeleton.chin, skeleton.crown
        half_height = (chin_y - crown_y) / 2
        turned = skeleton.turned
        # A skull is deeper than it is wide.
        half_width = half_height * identity.face_width * (1 + 0.16 * turned * turned)
        centre = (chin_x + crown_x) / 2, (chin_y + crown_y) / 2
        return cls(centre, half_width, half_height, skeleton.facing, turned)

    def at(self, x: float, y: float) -> Point:
        """Pixel of a place given in half widths and half heights from the centre."""
        return self.centre[0] + x * self.half_width, self.centre[1] + y * self.half_height

    @property
    def face_half_width(self) -> float:
        """Half width of the visible face in half widths of the head; 0 or less if it is turned away."""
        return face_half_width(self.facing)

    @property
    def face_shift(self) -> float:
        """Sideways place of the face's middle, in half widths of the head."""
        return self.turned * (0.98 - self.face_half_width)


def _style(identity: Identity) -> str:
    return FACTORS["hair_style"].names[identity.hair_style]


def draw_hair_behind(canvas: Canvas, head: Head, identity: Identity) -> None:
    """Hair that hangs behind the trunk when the person faces the camera, over it when not."""
    style = _style(identity)
    back = -head.turned
    if style == "long hair":
        shift = back * 0.3
        x = (-1.08 + shift, 1.08 + shift, 0.95 + shift, -0.95 + shift)
        canvas.polygon([head.at(x[0], -0.2), head.at(x[1], -0.2), head.at(x[2], 2.5), head.at(x[3], 2.5)], Part.HAIR)
        canvas.ellipse(head.at(shift, 2.5), head.half_width * 0.95, head.half_height * 0.3, Part.HAIR)
    elif style == "a ponytail":
        root, tip = head.at(back * 0.95, -0.45), head.at(back * 1.5 + 0.12 * (1 - abs(back)), 1.9)
        if head.facing < PONYTAIL_BEHIND:
            canvas.limb(root, tip, head.half_width * 0.3, head.half_width * 0.2, Part.HAIR)
            canvas.ellipse(root, head.half_width * 0.2, head.half_height * 0.16, Part.HAIR_TIE)


def draw_head(canvas: Canvas, head: Head, identity: Identity, hat: bool) -> None:
    """Skull, hair, face and what is worn on them, over everything drawn so far."""
    style = _style(identity)
    back = -head.turned
    wide, tall = head.half_width, head.half_height
    if style == "an afro":
        canvas.ellipse(head.at(back * 0.15, -0.35), wide * 1.5, tall * 1.12, Part.HAIR)
    elif style == "a bun" and not hat:
        canvas.ellipse(head.at(back * 0.7, -1.12 + 0.3 * abs(back)), wide * 0.45, tall * 0.32, Part.HAIR)
    elif style == "a bob haircut":
        shift = back * 0.14
        corners = [(-1.16, -0.3), (1.16, -0.3), (1.22, 0.98), (-1.22, 0.98)]
        canvas.polygon([head.at(x + shift, y) for x, y in corners], Part.HAIR)
    canvas.ellipse(head.at(0, 0.06), wide * 0.97, tall * 0.95, Part.FACE)
    cap_bottom = {"short hair": 0.12, "a ponytail": 0.2, "a bun": 0.2, "an afro": 0.3}.get(style, 0.75)
    _draw_cap_of_hair(canvas, head, cap_bottom)
    half = head.face_half_width
    if shows_face(head.facing):
        _draw_face(canvas, head, half, style)
        _draw_features(canvas, head, half, identity)
    if style in ("long hair", "a bob haircut"):
        _draw_strands(canvas, head, half, 1.9 if style == "long hair" else 0.95)
    if hat:
        _draw_cap(canvas, head)


def _draw_cap_of_hair(canvas: Canvas, head: Head, bottom: float) -> None:
    """Hair on the skull: the upper part of an ellipse, on the side of the back down to ``bottom``."""
    points = []
    for step in range(17):
        angle = math.pi + math.pi * step / 16
        points.append(head.at(1.05 * math.cos(angle), 0.0 + 1.06 * math.sin(angle)))
    right = bottom if head.turned < 0.3 else -0.3
    left = bottom if head.turned > -0.3 else -0.3
    points += [head.at(1.02, right), head.at(0.7, right + 0.12), head.at(-0.7, left + 0.12), head.at(-1.02, left)]
    canvas.polygon(points, Part.HAIR)
    if head.facing < -0.3:
        canvas.ellipse(head.at(0, 0.1), head.half_width * 0.99, head.half_height * (0.55 + bottom * 0.5), Part.HAIR)


def _draw_face(canvas: Canvas, head: Head, half: float, style: str) -> None:
    forehead = -0.46 if style != "a bob haircut" else -0.3
    shift = head.face_shift
    points = [head.at(shift + half * x, forehead) for x in (-0.78, 0.78)]
    for step in range(13):
        angle = math.pi * step / 12
        points.append(head.at(shift + half * math.cos(angle), 0.05 + 0.95 * math.sin(angle) ** 0.9))
    canvas.polygon(points, Part.FACE)


def _draw_features(canvas: Canvas, head: Head, half: float, identity: Identity) -> None:
    """Eyes, brows, nose, mouth, beard and glasses, on the visible part of the face."""
    wide, tall = head.half_width, head.half_height
    middle = head.face_shift + head.turned * half * 0.42
    if identity.beard:
        canvas.ellipse(head.at(head.face_shift + head.turned * 0.1, 0.66), wide * half * 0.82, tall * 0.33, Part.BEARD)
        canvas.ellipse(head.at(middle, 0.45), wide * half * 0.42, tall * 0.1, Part.BEARD)
    canvas.ellipse(head.at(middle, 0.58), wide * half * 0.3, tall * 0.055, Part.MOUTH)
    canvas.ellipse(head.at(middle + head.turned * 0.12, 0.25), wide * 0.09, tall * 0.1, Part.NOSE)
    eyes = [x for x in (-0.44, 0.44) if abs(middle + half * x - head.face_shift) < half * 0.9]
    lens = {1: Part.GLASSES, 2: Part.SUNGLASSES}.get(identity.glasses)
    for x in eyes:
        place = middle + half * x
        if lens is not None:
            canvas.ellipse(head.at(place, -0.02), wide * half * 0.4, tall * 0.19, lens)
        if lens is Part.GLASSES:
            canvas.ellipse(head.at(place, -0.02), wide * half * 0.25, tall * 0.11, Part.FACE)
        if lens is not Part.SUNGLASSES:
            canvas.ellipse(head.at(place, -0.02), wide * 0.1, tall * 0.075, Part.EYE)
        brow = tall * (0.04 + 0.05 * identity.brow)
        canvas.ellipse(head.at(place, -0.26), wide * half * 0.28, brow, Part.BROW)
    if lens is not None:
        ends = (middle - half * 0.9, middle + half * 0.9) if head.facing > 0.5 else (-0.2 * head.turned, middle)
        canvas.line([head.at(ends[0], -0.05), head.at(ends[1], -0.05)], wide * 0.08, lens)


def _draw_strands(canvas: Canvas, head: Head, half: float, bottom: float) -> None:
    """Hair that frames the face on the sides on which the face ends."""
    if head.facing < -0.2:
        return
    for side in (-1.0, 1.0):
        if side * head.turned > 0.45:
            continue
        inner = head.face_shift + side * half * 0.86
        points = [head.at(inner, -0.4), head.at(side * 1.08, -0.25), head.at(side * 1.12, bottom)]
        canvas.polygon([*points, head.at(inner + side * 0.06, bottom)], Part.HAIR)


def _draw_cap(canvas: Canvas, head: Head) -> None:
    points = []
    for step in range(13):
        angle = math.pi + math.pi * step / 12
        points.append(head.at(1.1 * math.cos(angle), -0.35 + 0.82 * math.sin(angle)))
    canvas.polygon(points, Part.HAT)
    if head.facing > -0.5:
        half = head.half_width * (1.0 - 0.3 * abs(head.turned))
        canvas.ellipse(head.at(head.turned * 0.9, -0.36), half, head.half_height * 0.11, Part.HAT)
