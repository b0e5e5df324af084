"""One image of one person: pose, view, figure, scene and camera, with its exact label map."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.datasets.walkers.cameras import (
    Camera,
    cast_shadow,
    draw_occluder,
    draw_view,
    expose,
    occlude,
    take_background,
)
from pipeline.datasets.walkers.canvas import SUPERSAMPLING, Canvas, Part
from pipeline.datasets.walkers.factors import Identity
from pipeline.datasets.walkers.figure import Figure
from pipeline.datasets.walkers.painting import FloatImage, halve_labels, label_table, paint
from pipeline.datasets.walkers.skeleton import Projection, draw_pose, make_skeleton
from pipeline.datasets.walkers.wardrobe import Outfit
from pipeline.images import LabelMap, RgbImage


@dataclass(frozen=True)
class Rendering:
    """One rendered image.

    Attributes:
        image: uint8, (H, W, 3), RGB.
        labels: LIP label of each pixel, uint8, (H, W).
        view: front, side or back.
        yaw: Direction in radians; 0 faces the camera, pi / 2 faces right.
        occluded: Whether something stands in front.
    """

    image: RgbImage
    labels: LabelMap
    view: str
    yaw: float
    occluded: bool


def _draw_folds(generator: np.random.Generator, height: int, width: int) -> FloatImage:
    coarse = generator.normal(1, 0.06, (12, 8)).astype(np.float32)
    folds: FloatImage = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return folds


def render(
    identity: Identity, outfit: Outfit, camera: Camera, height: int, width: int, generator: np.random.Generator
) -> Rendering:
    """Render a person as a camera sees them once; everything else is drawn from ``generator``."""
    view, yaw = draw_view(generator, camera)
    tall, wide = height * SUPERSAMPLING, width * SUPERSAMPLING
    unit = tall * float(np.clip(camera.size * generator.normal(1, 0.025), 0.78, 0.95))
    projection = Projection(
        yaw=yaw,
        scale=unit,
        centre=wide * 0.5 + float(generator.normal(0, 0.03)) * wide,
        ground=tall * 0.5 + unit * 0.5 + float(generator.normal(0, 0.008)) * tall,
        pitch=camera.pitch,
        lean=camera.lean + float(generator.normal(0, 0.01)),
    )
    skeleton = make_skeleton(identity, draw_pose(generator, yaw), projection)
    canvas = Canvas(height, width)
    Figure(canvas, identity, outfit, skeleton).draw()
    background = take_background(generator, camera, wide)
    cast_shadow(background, projection.centre, projection.ground, unit)
    origin = projection.centre, projection.ground - unit * identity.leg
    folds = _draw_folds(generator, tall, wide)
    image = paint(canvas.parts, identity, outfit, origin, unit, camera.light, folds)
    cv2.copyTo(background, (canvas.parts == Part.BACKGROUND).astype(np.uint8), image)
    hidden = draw_occluder(generator, camera, tall, wide)
    if hidden is not None:
        occlude(generator, camera, image, hidden)
        canvas.parts[hidden] = Part.BACKGROUND
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    labels = halve_labels(label_table(outfit)[canvas.parts])
    return Rendering(expose(generator, camera, small), labels, view, yaw, hidden is not None)
