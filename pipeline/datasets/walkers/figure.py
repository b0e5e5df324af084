"""Draws a dressed person into a map of parts, the far limbs first."""

import math
from typing import Final

from pipeline.datasets.walkers.canvas import Canvas, Part, Point
from pipeline.datasets.walkers.factors import FACTORS, SLEEVES, Identity
from pipeline.datasets.walkers.head import Head, draw_hair_behind, draw_head
from pipeline.datasets.walkers.skeleton import SIDES, Leg, Side, Skeleton
from pipeline.datasets.walkers.wardrobe import Outfit

_ARM: Final[dict[Side, Part]] = {"left": Part.LEFT_ARM, "right": Part.RIGHT_ARM}
_SLEEVE: Final[dict[Side, Part]] = {"left": Part.LEFT_SLEEVE, "right": Part.RIGHT_SLEEVE}
_LEG: Final[dict[Side, Part]] = {"left": Part.LEFT_LEG, "right": Part.RIGHT_LEG}
_TROUSER: Final[dict[Side, Part]] = {"left": Part.LEFT_LOWER, "right": Part.RIGHT_LOWER}
_SOCK: Final[dict[Side, Part]] = {"left": Part.LEFT_SOCK, "right": Part.RIGHT_SOCK}
_SHOE: Final[dict[Side, Part]] = {"left": Part.LEFT_SHOE, "right": Part.RIGHT_SHOE}
_BACK_VIEW: Final = -0.25
_SIDE_VIEW: Final = 0.55


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


class Figure:
    """One person in one image.

    Args:
        canvas: What is drawn into.
        identity: Who it is.
        outfit: What the person wears.
        skeleton: Where the joints are.
    """

    def __init__(self, canvas: Canvas, identity: Identity, outfit: Outfit, skeleton: Skeleton) -> None:
        self._canvas = canvas
        self._identity = identity
        self._outfit = outfit
        self._skeleton = skeleton
        self._head = Head.of(identity, skeleton)
        self._unit = skeleton.projection.scale
        self._upper = FACTORS["upper_type"].names[outfit.upper.kind]
        self._lower = "" if outfit.is_dress else FACTORS["lower_type"].names[outfit.lower.kind]
        self._carried = FACTORS["carried"].names[identity.carried]

    def draw(self) -> None:
        """Draw everything, from the farthest to the nearest."""
        away = self._skeleton.facing < _BACK_VIEW
        sideways = abs(self._skeleton.turned) > _SIDE_VIEW
        far, near = sorted(SIDES, key=lambda side: -self._skeleton.arms[side].depth)
        if not away:
            self._backpack()
            draw_hair_behind(self._canvas, self._head, self._identity)
        if sideways:
            self._arm(far)
        for side in (far, near):
            self._leg(side)
        self._skirt()
        self._trunk()
        if not away:
            self._straps()
        for side in (far, near) if not sideways else (near,):
            self._arm(side)
        self._neck()
        if away:
            self._backpack()
        draw_head(self._canvas, self._head, self._identity, bool(self._outfit.hat))
        if away:
            draw_hair_behind(self._canvas, self._head, self._identity)
        if self._outfit.scarf:
            self._scarf()
        self._bag_at_the_side(near)

    def _across(self, half_width: float, half_depth: float) -> float:
        """Half the width that a trunk of this half width and half depth shows."""
        return math.hypot(half_width * self._skeleton.facing, half_depth * self._skeleton.turned)

    def _girth(self, radius: float, ease: float = 0.0) -> float:
        """Pixels of a limb's radius, with the ease of the garment around it."""
        return (radius * self._identity.girth + ease) * self._unit

    def _outline(self, levels: list[tuple[float, float, float, float]]) -> list[Point]:
        """A closed outline from levels of (up, half width, half depth, forward)."""
        project = self._skeleton.projection
        left, right = [], []
        for up, half_width, half_depth, forward in levels:
            x, y = project.point(0, forward, up)
            half = self._across(half_width, half_depth) * self._unit
            left.append((x - half, y))
            right.append((x + half, y))
        return left + right[::-1]

    def _leg(self, side: Side) -> None:
        leg = self._skeleton.legs[side]
        thigh, knee, ankle = self._girth(0.052), self._girth(0.036), self._girth(0.022)
        self._canvas.limb(leg.hip, leg.knee, thigh, knee, _LEG[side])
        self._canvas.limb(leg.knee, leg.ankle, self._girth(0.037), ankle, _LEG[side])
        loose = 0.004 + 0.016 * self._outfit.lower.loose
        shoe = self._unit * 0.022
        if self._lower != "trousers":
            sock = _between(leg.knee, leg.ankle, 0.72)
            self._canvas.limb(sock, leg.ankle, self._girth(0.027), ankle * 1.08, _SOCK[side])
        self._canvas.limb(leg.ankle, leg.heel, shoe * 0.95, shoe, _SHOE[side])
        if self._outfit.boots:
            top = _between(leg.knee, leg.ankle, 0.5)
            self._canvas.limb(top, leg.ankle, self._girth(0.036), self._girth(0.028), _SHOE[side])
        towards = self._skeleton.facing > 0  # then the toes are in front of the trousers, otherwise behind them
        if not towards:
            self._canvas.limb(leg.heel, leg.toe, shoe, shoe * 0.8, _SHOE[side])
        if self._lower in ("trousers", "shorts"):
            self._trouser_leg(side, leg, loose)
        if towards:
            self._canvas.limb(leg.heel, leg.toe, shoe, shoe * 0.8, _SHOE[side])

    def _trouser_leg(self, side: Side, leg: Leg, loose: float) -> None:
        part = _TROUSER[side]
        knee = self._girth(0.04, loose * 0.8)
        if self._lower == "shorts":
            self._canvas.limb(leg.hip, _between(leg.hip, leg.knee, 0.85), self._girth(0.055, loose), knee * 1.15, part)
            return
        end = _between(leg.knee, leg.ankle, 0.62 if self._outfit.boots else 0.95)
        self._canvas.limb(leg.hip, leg.knee, self._girth(0.055, loose), knee, part)
        self._canvas.limb(leg.knee, end, knee, self._girth(0.028, loose * 1.1), part)

    def _skirt(self) -> None:
        hem = {"short skirt": 0.62, "long skirt": 0.24}.get(self._lower)
        if hem is not None:
            self._hanging(hem, self._outfit.lower.loose, Part.LOWER)

    def _hanging(self, hem: float, loose: float, part: Part) -> None:
        """A skirt from the hips to ``hem`` (share of the leg's length)."""
        leg, hip = self._identity.leg, self._identity.hip
        spread = 1.25 + 0.45 * loose + 0.25 * self._identity.swing
        top, low = hip * 1.02, hip * spread
        levels = [(leg + 0.07, top * 0.92, top * 0.75, 0.0), (leg, top * 1.1, top * 0.95, 0.0)]
        self._canvas.polygon(self._outline([*levels, (leg * hem, low, low * 0.95, 0.0)]), part)

    def _trunk_levels(self, ease: float, low: float) -> list[tuple[float, float, float, float]]:
        """Levels of the trunk from the shoulders down to ``low``."""
        identity, skeleton = self._identity, self._skeleton
        up, leg, forward = skeleton.shoulder_up, identity.leg, skeleton.trunk_forward
        depth = 0.056 * identity.girth + ease
        shoulder, hip = identity.shoulder + 0.012 + ease * 0.5, identity.hip + ease
        waist = (0.35 * identity.shoulder + 0.5 * identity.hip) * (0.7 + 0.3 * identity.girth) + ease
        middle = leg + (up - leg) * 0.38
        return [
            (up + 0.034, 0.04, 0.04, forward),
            (up + 0.014, shoulder * 0.86, depth * 0.7, forward),
            (up - 0.03, shoulder, depth * 1.05, forward * 0.95),
            (leg + (up - leg) * 0.65, shoulder * 0.93, depth * 1.15, forward * 0.65),
            (middle, max(waist, hip * 0.8), depth * 1.02, forward * 0.4),
            (leg + 0.03, hip * 1.03, depth * 1.12, 0.0),
            (low, hip * 1.04, depth * 1.16, 0.0),
        ]

    def _trunk(self) -> None:
        leg, outfit = self._identity.leg, self._outfit
        if self._lower in ("trousers", "shorts"):
            self._canvas.polygon(self._outline(self._trunk_levels(0.0, leg - 0.035)[3:]), Part.LOWER)
        ease = 0.002 + 0.016 * outfit.upper.loose
        if self._upper == "dress":
            self._hanging(0.5 - 0.3 * outfit.upper.period / 0.055, outfit.upper.loose, Part.UPPER)
        low = leg + 0.045 - 0.05 * outfit.upper.loose
        if self._upper == "coat":
            ease, low = ease + 0.012, leg * 0.66
        elif self._upper == "jacket":
            ease, low = ease + 0.01, leg + 0.005
        levels = self._trunk_levels(ease, low)
        if low > leg:
            levels = [*levels[:5], levels[6]]
        self._canvas.polygon(self._outline(levels), Part.UPPER)
        self._front(low)
        if self._upper == "tank top":
            for side in SIDES:
                shoulder = self._skeleton.arms[side].shoulder
                self._canvas.ellipse(shoulder, self._girth(0.026), self._girth(0.03), _ARM[side])

    def _front(self, low: float) -> None:
        """What is seen on the chest: the open front of a jacket or coat, or a print."""
        if self._skeleton.facing < 0.2:
            return
        project, up = self._skeleton.projection, self._skeleton.shoulder_up
        depth, width = 0.055, 0.028 + 0.012 * self._outfit.upper.loose

        def front(left: float, height: float) -> Point:
            return project.point(left, depth + self._skeleton.trunk_forward * 0.6, height)

        if self._upper in ("jacket", "coat"):
            end = low + 0.01
            corners = [
                front(-width, up + 0.02),
                front(width, up + 0.02),
                front(width * 0.8, end),
                front(-width * 0.8, end),
            ]
            self._canvas.polygon(corners, Part.INNER)
        elif self._upper == "shirt":
            self._canvas.line([front(0, up), front(0, low)], self._unit * 0.008, Part.TRIM)
        if FACTORS["upper_texture"].names[self._outfit.upper.texture] == "printed" and self._upper != "coat":
            middle = up - 0.1
            half = 0.045
            corners = [front(x, middle + y) for x, y in ((-half, half), (half, half), (half, -half), (-half, -half))]
            self._canvas.polygon(corners, Part.PRINT)

    def _arm(self, side: Side) -> None:
        arm = self._skeleton.arms[side]
        part = _ARM[side]
        self._canvas.limb(arm.shoulder, arm.elbow, self._girth(0.03), self._girth(0.023), part)
        self._canvas.limb(arm.elbow, arm.wrist, self._girth(0.023), self._girth(0.017), part)
        self._canvas.limb(arm.wrist, arm.hand, self._girth(0.019), self._girth(0.019), part)
        sleeves = SLEEVES[self._outfit.upper.sleeves]
        ease = 0.003 + 0.011 * self._outfit.upper.loose + (0.006 if self._upper in ("jacket", "coat") else 0)
        if sleeves == "short":
            end = _between(arm.shoulder, arm.elbow, 0.62)
            self._canvas.limb(arm.shoulder, end, self._girth(0.032, ease), self._girth(0.029, ease), _SLEEVE[side])
        elif sleeves == "long":
            self._canvas.limb(
                arm.shoulder, arm.elbow, self._girth(0.032, ease), self._girth(0.026, ease), _SLEEVE[side]
            )
            end = _between(arm.elbow, arm.wrist, 0.95)
            self._canvas.limb(arm.elbow, end, self._girth(0.026, ease), self._girth(0.02, ease), _SLEEVE[side])

    def _neck(self) -> None:
        project, forward = self._skeleton.projection, self._skeleton.trunk_forward
        x, y = self._skeleton.chin
        top = x, y - self._unit * 0.02
        base = project.point(0, forward + 0.01, self._skeleton.shoulder_up + 0.022)
        radius = self._unit * 0.03 * (0.6 + 0.4 * self._identity.girth)
        self._canvas.limb(top, base, radius, radius * 1.05, Part.NECK)
        if self._skeleton.facing > 0.2 and self._upper in ("t-shirt", "tank top", "dress"):
            self._canvas.ellipse(base, radius * 1.25, radius * 0.8, Part.NECK)

    def _scarf(self) -> None:
        x, y = self._skeleton.chin
        centre = x, y + self._unit * 0.028
        self._canvas.ellipse(centre, self._unit * 0.058, self._unit * 0.024, Part.SCARF)
        if self._skeleton.facing > 0:
            end = x + self._unit * 0.03, y + self._unit * 0.14
            self._canvas.limb(
                (x + self._unit * 0.02, centre[1]), end, self._unit * 0.016, self._unit * 0.018, Part.SCARF
            )

    def _backpack(self) -> None:
        if self._carried != "a backpack":
            return
        skeleton = self._skeleton
        up = skeleton.shoulder_up
        x, y = skeleton.projection.point(0, skeleton.trunk_forward * 0.7 - 0.09, up - 0.13)
        half = self._across(0.085, 0.045) * self._unit
        self._canvas.ellipse((x, y - self._unit * 0.09), half, self._unit * 0.06, Part.BAG)
        corners = [(-half, -0.09), (half, -0.09), (half * 1.05, 0.1), (-half * 1.05, 0.1)]
        self._canvas.polygon([(x + dx, y + dy * self._unit) for dx, dy in corners], Part.BAG)

    def _straps(self) -> None:
        if self._carried != "a backpack":
            return
        project, up, shoulder = self._skeleton.projection, self._skeleton.shoulder_up, self._identity.shoulder
        for sign in (-1, 1):
            ends = [(0.72, 0.02, 0.02), (0.78, 0.055, -0.06), (0.95, 0.03, -0.18)]
            points = [project.point(sign * shoulder * left, forward, up + rise) for left, forward, rise in ends]
            self._canvas.line(points, self._unit * 0.022, Part.STRAP)

    def _bag_at_the_side(self, side: Side) -> None:
        """A handbag in the near hand, or a shoulder bag whose strap crosses the trunk."""
        skeleton, unit = self._skeleton, self._unit
        if self._carried == "a handbag":
            x, y = skeleton.arms[side].hand
            half = self._across(0.03, 0.075) * unit
            self._canvas.line(
                [(x - half * 0.6, y + 0.035 * unit), (x, y), (x + half * 0.6, y + 0.035 * unit)], 2, Part.STRAP
            )
            corners = [(-half * 0.85, 0.03), (half * 0.85, 0.03), (half, 0.12), (-half, 0.12)]
            self._canvas.polygon([(x + dx, y + dy * unit) for dx, dy in corners], Part.BAG)
        elif self._carried == "a shoulder bag":
            sign = 1 if side == "left" else -1
            project, identity = skeleton.projection, self._identity
            front = 0.06 if skeleton.facing > 0 else -0.06
            x, y = project.point(sign * (identity.hip + 0.02), 0.0, identity.leg + 0.01)
            top = project.point(-sign * identity.shoulder * 0.6, 0.0, skeleton.shoulder_up + 0.02)
            middle = project.point(0, front, (skeleton.shoulder_up + identity.leg) / 2 + 0.02)
            self._canvas.line([top, middle, (x, y)], unit * 0.014, Part.STRAP)
            half = self._across(0.035, 0.075) * unit
            corners = [(-half, -0.045), (half, -0.045), (half * 1.05, 0.055), (-half * 1.05, 0.055)]
            self._canvas.polygon([(x + dx, y + dy * unit) for dx, dy in corners], Part.BAG)
