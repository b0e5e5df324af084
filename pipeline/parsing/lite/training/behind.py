"""People seen from behind, made from photographs of people who face the camera: hair in the place of the face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, Mask, RgbImage
from pipeline.parsing.lite.targets import IGNORE, LIP_NUMBER, MIRRORED, SOME_SKIN
from pipeline.parsing.lite.training.crops import person_box

Rng = np.random.Generator

HAIR, FACE, SUNGLASSES = LIP_NUMBER["hair"], LIP_NUMBER["face"], LIP_NUMBER["sunglasses"]
COLOURS = ((18, 16, 18), (28, 24, 24), (48, 34, 26), (84, 58, 38), (150, 116, 72), (150, 148, 146))
"""RGB of hair, from black over brown and blond to grey."""
DRAWN = (0.3, 0.25, 0.2, 0.1, 0.1, 0.05)
"""Probability of each colour."""
FEWEST_PIXELS = 12
"""Of hair and face, below which there is no head to turn."""


def turn_away(image: RgbImage, target: LabelMap, rng: Rng) -> tuple[RgbImage, LabelMap]:
    """The person with the back of a head: hair over the face, short, long or in a ponytail; sides change places.

    Without a head that shows hair and face, image and target come back as they are.
    """
    face = (target == FACE) | (target == SUNGLASSES)
    if min(int((target == HAIR).sum()), int(face.sum())) < FEWEST_PIXELS:
        return image, target
    hair = _back_of_head(target, face, rng)
    texture = _strands(image, target, rng)
    soft = cv2.GaussianBlur(hair.astype(np.float32), (0, 0), 0.7)[..., None]
    # what was hair before gets the new colour too, and its own light and dark stay
    texture = np.where((target == HAIR)[..., None], texture + _shading(image, target), texture)
    turned = np.clip(image * (1 - soft) + texture * soft, 0, 255).astype(np.uint8)
    new = MIRRORED[target]
    new[new == SOME_SKIN] = IGNORE  # a neckline; a back has none, but what it has instead is not known
    new[hair] = HAIR
    return turned, new


def _back_of_head(target: LabelMap, face: Mask, rng: Rng) -> Mask:
    head = face | (target == HAIR)
    rows, columns = np.nonzero(face)
    top, bottom, middle = int(rows.min()), int(rows.max()), float(columns.mean())
    half = max(2.0, 0.55 * (columns.max() - columns.min() + 1))
    tall = bottom - top + 1
    shape = np.zeros(target.shape, dtype=np.uint8)
    style = rng.random()
    if style < 0.35:  # short: the lower third of the face, chin and neck, stays skin
        shape[: top + round(0.66 * tall)] = 1
        return np.asarray((target == HAIR) | (face & (shape > 0)), dtype=np.bool_)
    height = person_box(target).height
    length = bottom + height * rng.uniform(0.02, 0.24)
    if style < 0.8:
        lower = half * rng.uniform(0.6, 1.3)
        lean = rng.uniform(-0.3, 0.3) * half
        corners = [
            (middle - half, top), (middle + half, top),
            (middle + half * 1.05, bottom), (middle + lower + lean, length - lower / 3),
            (middle + lean + 0.4 * lower, length), (middle + lean - 0.4 * lower, length),
            (middle - lower + lean, length - lower / 3), (middle - half * 1.05, bottom),
        ]  # fmt: skip
        cv2.fillPoly(shape, [np.round(corners).astype(np.int32)], 1)
        return np.asarray(head | (shape > 0), dtype=np.bool_)
    tail = (round(middle + rng.uniform(-0.5, 0.5) * half), round((top + length) / 2))
    axes = (max(1, round(half * rng.uniform(0.25, 0.5))), max(2, round((length - top) / 2)))
    cv2.ellipse(shape, tail, axes, float(rng.uniform(-12, 12)), 0, 360, 1, -1)
    kept = np.arange(target.shape[0])[:, None] < top + 0.66 * tall
    return np.asarray((target == HAIR) | (face & kept) | (shape > 0), dtype=np.bool_)


def _strands(image: RgbImage, target: LabelMap, rng: Rng) -> NDArray[np.float32]:
    """Hair of one colour, the person's own or another, with strands downwards and light from above."""
    own = image[target == HAIR].mean(axis=0)
    colour = own if rng.random() < 0.35 else np.array(COLOURS[int(rng.choice(6, p=DRAWN))]) + rng.normal(0, 6, 3)
    rows, columns = target.shape
    noise = rng.normal(0, rng.uniform(2, 12), (max(2, rows // 24), columns)).astype(np.float32)
    light = cv2.resize(noise, (columns, rows)) + np.linspace(rng.uniform(0, 16), 0, rows, dtype=np.float32)[:, None]
    return np.asarray(colour + light[..., None], dtype=np.float32)


def _shading(image: RgbImage, target: LabelMap) -> NDArray[np.float32]:
    grey = image.mean(axis=2, dtype=np.float32)
    return np.asarray(0.6 * (grey - grey[target == HAIR].mean()), dtype=np.float32)[..., None]
