"""Joints of a walking person and their place in the image.

Body coordinates: ``left`` to the person's left, ``forward`` to where the person faces, ``up`` from the ground, all as
shares of the body's height.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from pipeline.datasets.walkers.canvas import Point
from pipeline.datasets.walkers.factors import Identity

Side = Literal["left", "right"]
SIDES: Final[tuple[Side, Side]] = ("left", "right")
SHIN_SHARE: Final = 0.47
ANKLE_HEIGHT: Final = 0.035
UPPER_ARM: Final = 0.165
FOREARM: Final = 0.15


@dataclass(frozen=True)
class Pose:
    """How the person stands in one image.

    Attributes:
        yaw: Direction in radians: 0 faces the camera, pi / 2 faces to the right of the image.
        phase: Position in the walking cycle, radians.
        pace: 0 stands, 1 walks with the person's full swing.
        nod: Forward shift of the head, as a share of its height.
        elbows: Bend of the left and right elbow, radians.
    """

    yaw: float
    phase: float
    pace: float
    nod: float
    elbows: tuple[float, float]


@dataclass(frozen=True)
class Projection:
    """From body coordinates to pixels of the canvas.

    Attributes:
        yaw: See :class:`Pose`.
        scale: Pixels for a length of 1.
        centre: Column of the body's axis at the ground.
        ground: Row of the ground under the body.
        pitch: Sine of the angle at which the camera looks down.
        lean: Sideways slope of the camera.
    """

    yaw: float
    scale: float
    centre: float
    ground: float
    pitch: float
    lean: float

    def depth(self, left: float, forward: float) -> float:
        """Distance behind the body's axis, seen from the camera."""
        return left * math.sin(self.yaw) - forward * math.cos(self.yaw)

    def point(self, left: float, forward: float, up: float) -> Point:
        """Pixel of a point of the body."""
        across = left * math.cos(self.yaw) + forward * math.sin(self.yaw)
        rise = up * (1 - 0.5 * self.pitch * self.pitch) + self.pitch * self.depth(left, forward)
        return self.centre + self.scale * (across + self.lean * up), self.ground - self.scale * rise


@dataclass(frozen=True)
class Leg:
    """Joints of a leg in pixels, the foot's direction, and its depth."""

    hip: Point
    knee: Point
    ankle: Point
    heel: Point
    toe: Point
    depth: float


@dataclass(frozen=True)
class Arm:
    """Joints of an arm in pixels, and its depth."""

    shoulder: Point
    elbow: Point
    wrist: Point
    hand: Point
    depth: float


@dataclass(frozen=True)
class Skeleton:
    """All joints of a person in one image.

    Attributes:
        projection: Where body coordinates come to lie.
        legs: By side.
        arms: By side.
        shoulder_up: Height of the shoulders in body coordinates.
        trunk_forward: How far the trunk's upper end is in front of its lower end.
        chin: Pixel of the chin.
        crown: Pixel of the top of the skull.
    """

    projection: Projection
    legs: dict[Side, Leg]
    arms: dict[Side, Arm]
    shoulder_up: float
    trunk_forward: float
    chin: Point
    crown: Point

    @property
    def facing(self) -> float:
        """1 towards the camera, -1 away from it."""
        return math.cos(self.projection.yaw)

    @property
    def turned(self) -> float:
        """1 to the right of the image, -1 to the left."""
        return math.sin(self.projection.yaw)


def _leg(identity: Identity, pose: Pose, projection: Projection, side: Side, drop: float) -> Leg:
    sign = 1.0 if side == "left" else -1.0
    turn = math.sin(pose.phase) * sign
    angle = identity.swing * pose.pace * turn
    bend = pose.pace * (0.15 + 0.55 * max(0.0, math.cos(pose.phase) * sign) * max(0.0, 0.6 - turn))
    length = identity.leg - ANKLE_HEIGHT
    shin = length * SHIN_SHARE
    hip = sign * identity.hip * 0.62
    foot = hip * identity.stance
    knee = (hip + foot) / 2, (length - shin) * math.sin(angle), identity.leg - (length - shin) * math.cos(angle) - drop
    ankle_forward = knee[1] + shin * math.sin(angle - bend)
    ankle_up = knee[2] - shin * math.cos(angle - bend)
    tip = 0.6 * (angle - bend)
    reach = 0.085
    sole = ankle_up - ANKLE_HEIGHT * 0.7
    return Leg(
        hip=projection.point(hip, 0, identity.leg - drop),
        knee=projection.point(*knee),
        ankle=projection.point(foot, ankle_forward, ankle_up),
        heel=projection.point(foot, ankle_forward - 0.02, sole),
        toe=projection.point(foot * 1.12, ankle_forward + reach * math.cos(tip), sole + reach * math.sin(tip)),
        depth=projection.depth(hip, 0),
    )


def _arm(identity: Identity, pose: Pose, projection: Projection, side: Side, up: float, forward: float) -> Arm:
    sign = 1.0 if side == "left" else -1.0
    angle = -identity.arm_swing * pose.pace * math.sin(pose.phase) * sign
    bend = pose.elbows[0 if side == "left" else 1]
    spread = identity.arm_spread
    length, lower = UPPER_ARM, FOREARM
    start = sign * identity.shoulder * 0.97, forward, up - 0.018
    elbow = (
        start[0] + sign * length * math.sin(spread),
        start[1] + length * math.sin(angle),
        start[2] - length * math.cos(angle) * math.cos(spread),
    )

    def along(reach: float) -> tuple[float, float, float]:
        return (
            elbow[0] + sign * reach * math.sin(spread) * 0.4,
            elbow[1] + reach * math.sin(angle + bend),
            elbow[2] - reach * math.cos(angle + bend),
        )

    return Arm(
        shoulder=projection.point(*start),
        elbow=projection.point(*elbow),
        wrist=projection.point(*along(lower)),
        hand=projection.point(*along(lower + 0.03)),
        depth=projection.depth(sign * identity.shoulder, 0),
    )


def make_skeleton(identity: Identity, pose: Pose, projection: Projection) -> Skeleton:
    """Place a person's joints in the image."""
    swing = identity.swing * pose.pace * abs(math.sin(pose.phase))
    drop = (identity.leg - ANKLE_HEIGHT) * (1 - math.cos(swing)) * 0.8
    neck = 0.03
    shoulder_up = 1 - identity.head - neck - 0.02 - drop
    trunk = math.tan(identity.lean) * (shoulder_up - identity.leg)
    head_forward = trunk * 1.2 + pose.nod * identity.head
    return Skeleton(
        projection=projection,
        legs={side: _leg(identity, pose, projection, side, drop) for side in SIDES},
        arms={side: _arm(identity, pose, projection, side, shoulder_up, trunk) for side in SIDES},
        shoulder_up=shoulder_up,
        trunk_forward=trunk,
        chin=projection.point(0, head_forward, 1 - identity.head - drop),
        crown=projection.point(0, head_forward, 1 - drop),
    )


def draw_pose(generator: np.random.Generator, yaw: float) -> Pose:
    """Draw a pose for a given direction: seven of ten people walk."""
    walks = generator.random() < 0.7
    elbows = generator.uniform(0.05, 0.5, 2)
    if generator.random() < 0.12:
        elbows[int(generator.integers(2))] = generator.uniform(1.2, 1.9)
    return Pose(
        yaw=yaw,
        phase=float(generator.uniform(0, 2 * math.pi)),
        pace=float(generator.uniform(0.7, 1.0) if walks else generator.uniform(0.0, 0.2)),
        nod=float(generator.normal(0.02, 0.04)),
        elbows=(float(elbows[0]), float(elbows[1])),
    )
