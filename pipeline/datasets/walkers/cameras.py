"""Cameras: where people stand and face, the scene behind them, what hides them, light, colour, blur and noise."""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.walkers.canvas import SUPERSAMPLING
from pipeline.datasets.walkers.painting import FloatImage
from pipeline.images import RgbImage

SCENE_WIDTHS: Final = 4
"""A scene is so many images wide; each image shows another piece of it."""
VIEWS: Final = ("front", "side", "back")
_USUAL_VIEWS: Final = np.array((0.45, 0.28, 0.27))


Range = tuple[float, float]


@dataclass(frozen=True)
class CameraStyle:
    """How much the cameras of a data set differ: ranges of uniform draws, and deviations of normal ones.

    Attributes:
        gain: Range of the camera's, as the next four.
        gamma: See :class:`Camera`.
        haze: See :class:`Camera`.
        blur: See :class:`Camera`.
        noise: See :class:`Camera`.
        cast: Deviation of the logarithm of each channel's factor.
        views: Deviation of the logarithm of each view's chance.
        occlusion: Range of the chance.
    """

    gain: Range
    gamma: Range
    haze: Range
    blur: Range
    noise: Range
    cast: float
    views: float
    occlusion: Range


STANDARD_CAMERAS: Final = CameraStyle(
    gain=(0.8, 1.12),
    gamma=(0.85, 1.2),
    haze=(0.0, 0.12),
    blur=(0.0, 0.75),
    noise=(1.5, 5.0),
    cast=0.035,
    views=0.35,
    occlusion=(0.05, 0.25),
)
HARD_CAMERAS: Final = CameraStyle(
    gain=(0.6, 1.35),
    gamma=(0.7, 1.5),
    haze=(0.0, 0.28),
    blur=(0.0, 1.2),
    noise=(2.0, 10.0),
    cast=0.08,
    views=0.6,
    occlusion=(0.2, 0.5),
)


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        number: From 1.
        scene: What stands behind people, RGB grey levels at the canvas's resolution, (H, SCENE_WIDTHS * W, 3).
        gain: Brightness.
        gamma: Exponent of brightness.
        cast: Factor of red, green and blue.
        haze: Share of grey that is mixed in.
        blur: Standard deviation in pixels of an image 128 high.
        noise: Standard deviation in grey levels.
        light: Side that the light comes from, -0.2 to 0.2.
        pitch: Sine of the angle at which it looks down.
        lean: Sideways slope.
        size: Mean of the body's height as a share of the image's.
        views: Chance of each of ``VIEWS``.
        occlusion: Chance that something stands in front of a person.
        occluder: RGB of that thing.
    """

    number: int
    scene: FloatImage
    gain: float
    gamma: float
    cast: tuple[float, float, float]
    haze: float
    blur: float
    noise: float
    light: float
    pitch: float
    lean: float
    size: float
    views: tuple[float, float, float]
    occlusion: float
    occluder: tuple[float, float, float]


def _draw_scene(generator: np.random.Generator, height: int, width: int) -> FloatImage:
    """A wall with panels above a floor with joints, and some things along the wall."""
    scene = np.empty((height, width, 3), dtype=np.float32)
    wall, floor = (generator.uniform(70, 200) + generator.normal(0, 12, 3) for _ in range(2))
    horizon = int(height * generator.uniform(0.45, 0.8))
    scene[:horizon] = wall * np.linspace(1.08, 0.92, horizon)[:, None, None]
    scene[horizon:] = floor * np.linspace(0.85, 1.1, height - horizon)[:, None, None]
    step = int(height * generator.uniform(0.12, 0.5))
    joint = generator.uniform(0.75, 0.95)
    for x in range(0, width, step):
        scene[:horizon, x : x + max(height // 64, 1)] *= joint
    if generator.random() < 0.6:
        for y in range(0, horizon, max(step // 2, 4)):
            scene[y : y + max(height // 128, 1)] *= joint
    for _ in range(int(generator.integers(10, 22))):
        colour = generator.uniform(30, 220) + generator.normal(0, 20, 3)
        x, wide = int(generator.integers(width)), int(height * generator.uniform(0.04, 0.3))
        top = int(height * generator.uniform(0.0, 0.6))
        bottom = min(top + int(height * generator.uniform(0.1, 0.5)), horizon + height // 10)
        if generator.random() < 0.3:
            centre = (x, (top + bottom) // 2)
            cv2.ellipse(scene, centre, (wide // 2, max((bottom - top) // 2, 2)), 0, 0, 360, colour.tolist(), -1)
        else:
            scene[top:bottom, x : x + wide] = scene[top:bottom, x : x + wide] * 0.25 + 0.75 * colour
    grain = generator.normal(0, 7, (height // 4, width // 4, 1)).astype(np.float32)
    scene += cv2.resize(grain, (width, height))[..., None]
    blurred: FloatImage = cv2.GaussianBlur(scene, (0, 0), height / 128)
    return np.clip(blurred, 0, 255)


def draw_camera(
    generator: np.random.Generator, number: int, height: int, width: int, style: CameraStyle = STANDARD_CAMERAS
) -> Camera:
    """Draw a camera for images of ``height`` x ``width`` pixels; styles differ in ranges, not in what is drawn when."""
    views = _USUAL_VIEWS * np.exp(generator.normal(0, style.views, 3))
    views /= views.sum()
    cast = np.exp(generator.normal(0, style.cast, 3))
    cast /= cast.mean()
    occluder = generator.uniform(40, 180) + generator.normal(0, 25, 3)
    return Camera(
        number=number,
        scene=_draw_scene(generator, height * SUPERSAMPLING, width * SUPERSAMPLING * SCENE_WIDTHS),
        gain=float(generator.uniform(*style.gain)),
        gamma=float(generator.uniform(*style.gamma)),
        cast=(float(cast[0]), float(cast[1]), float(cast[2])),
        haze=float(generator.uniform(*style.haze)),
        blur=float(generator.uniform(*style.blur)),
        noise=float(generator.uniform(*style.noise)),
        light=float(generator.uniform(-0.16, 0.16)),
        pitch=float(generator.uniform(0.05, 0.3)),
        lean=float(generator.normal(0, 0.012)),
        size=float(generator.uniform(0.86, 0.93)),
        views=(float(views[0]), float(views[1]), float(views[2])),
        occlusion=float(generator.uniform(*style.occlusion)),
        occluder=(float(occluder[0]), float(occluder[1]), float(occluder[2])),
    )


def draw_view(generator: np.random.Generator, camera: Camera) -> tuple[str, float]:
    """Draw from which side the camera sees a person: the name of the view, and the yaw in radians."""
    view = VIEWS[int(generator.choice(3, p=camera.views))]
    side = 1 if generator.random() < 0.5 else -1
    degrees = {
        "front": generator.normal(0, 20),
        "side": side * generator.normal(80, 15),
        "back": generator.normal(180, 20),
    }
    return view, math.radians(float(degrees[view]))


def take_background(generator: np.random.Generator, camera: Camera, width: int) -> FloatImage:
    """A copy of a piece of the scene, ``width`` canvas pixels wide, under the light of one moment."""
    left = int(generator.integers(camera.scene.shape[1] - width + 1))
    return camera.scene[:, left : left + width] * np.float32(generator.uniform(0.88, 1.12))


def cast_shadow(background: FloatImage, centre: float, ground: float, unit: float) -> None:
    """Darken the floor under a person, in place."""
    mask = np.zeros(background.shape[:2], dtype=np.float32)
    axes = max(int(0.17 * unit), 1), max(int(0.03 * unit), 1)
    cv2.ellipse(mask, (round(centre), round(ground)), axes, 0, 0, 360, 0.35, -1)
    shade = 1 - cv2.blur(mask, (9, 9))
    cv2.multiply(background, cv2.merge([shade, shade, shade]), background)


def draw_occluder(generator: np.random.Generator, camera: Camera, height: int, width: int) -> NDArray[np.bool_] | None:
    """Where something hides the person: a low box, a post or a bush; None most of the time. (H, W)"""
    if generator.random() >= camera.occlusion:
        return None
    mask = np.zeros((height, width), dtype=np.uint8)
    kind = generator.integers(3)
    x = int(generator.integers(width))
    if kind == 0:
        wide = int(width * generator.uniform(0.4, 1.0))
        mask[int(height * generator.uniform(0.66, 0.85)) :, max(x - wide // 2, 0) : x + wide // 2] = 1
    elif kind == 1:
        mask[:, x : x + int(width * generator.uniform(0.06, 0.14))] = 1
    else:
        for _ in range(6):
            centre = (x + int(generator.normal(0, width * 0.1)), int(height * generator.uniform(0.72, 1.0)))
            cv2.circle(mask, centre, int(width * generator.uniform(0.1, 0.2)), 1, -1)
    return mask > 0


def occlude(generator: np.random.Generator, camera: Camera, image: FloatImage, mask: NDArray[np.bool_]) -> None:
    """Paint the thing in front, in place."""
    rows = np.linspace(1.1, 0.85, image.shape[0], dtype=np.float32)[:, None]
    colour = np.array(camera.occluder, dtype=np.float32) * np.float32(generator.uniform(0.85, 1.15))
    image[mask] = (rows[..., None] * colour + np.zeros_like(image))[mask]


def expose(generator: np.random.Generator, camera: Camera, image: FloatImage) -> RgbImage:
    """What the camera makes of a finished scene: RGB in grey levels (H, W, 3) -> uint8."""
    if camera.blur > 0.15:
        image = cv2.GaussianBlur(image, (0, 0), camera.blur * image.shape[0] / 128)
    gain = camera.gain * generator.uniform(0.93, 1.07)
    table = 255 * np.clip(np.linspace(0, 1, 256)[:, None] * gain * np.array(camera.cast), 0, 1) ** camera.gamma
    table = table * (1 - camera.haze) + 140 * camera.haze
    exposed: FloatImage = cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), table.astype(np.float32)[:, None])
    exposed += np.float32(camera.noise) * generator.standard_normal(exposed.shape, dtype=np.float32)
    return np.clip(np.rint(exposed), 0, 255).astype(np.uint8)
