"""Bags put on people: cut out of other photographs, or drawn, as handbags, shoulder bags and backpacks."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.images import LabelMap, Mask, RgbImage
from pipeline.parsing.lite.targets import BAG, LIP_NUMBER, SOME_ARM, is_clothes
from pipeline.parsing.lite.training.crops import Example, person_mask

Rng = np.random.Generator

_HEAD = tuple(LIP_NUMBER[name] for name in ("hair", "face", "hat", "sunglasses"))
_ARMS = (LIP_NUMBER["left-arm"], LIP_NUMBER["right-arm"], SOME_ARM)
_TRIES = 4
_FEWEST_PIXELS = 200
"""Of a bag in a photograph that is worth cutting out."""
_LEAST_CLOTHES = 0.02
"""Share of the view that clothes must cover for somebody to carry a bag there."""


def carry(
    image: RgbImage, target: LabelMap, others: Sequence[Example], backpacks: float, rng: Rng
) -> tuple[RgbImage, LabelMap]:
    """A bag on the person, with its strap or straps; its pixels become bags.

    Heads stay before it, and in half of the views bare arms do. ``backpacks`` is the share of backpacks among the bags.
    """
    clothes = is_clothes(target)
    if clothes.mean() < _LEAST_CLOTHES:
        return image, target
    rows = np.flatnonzero(person_mask(target).any(axis=1))
    top, height = int(rows[0]), int(rows[-1] - rows[0] + 1)
    trunk = np.zeros_like(clothes)
    trunk[top + round(0.16 * height) : top + round(0.5 * height)] = True
    columns = np.nonzero(clothes & trunk)[1]
    if not columns.size:
        return image, target
    middle, wide = float(columns.mean()), float(columns.std() * 3.4 + 2)
    backpack = rng.random() < backpacks
    if backpack:
        size = height * rng.uniform(0.16, 0.34), wide * rng.uniform(0.55, 1.1)
        size = size[0], min(size[1], size[0] * rng.uniform(0.55, 0.95))
        place = top + height * rng.uniform(0.17, 0.24) + size[0] / 2, middle + wide * rng.normal(0, 0.28)
    else:
        size = height * rng.uniform(0.07, 0.2), height * rng.uniform(0.07, 0.2)
        place = top + height * rng.uniform(0.34, 0.62), middle + wide * rng.uniform(-0.75, 0.75)
    tall, broad = max(4, round(size[0])), max(3, round(size[1]))
    picture, shape = _bag(image, clothes, others, (tall, broad), rng)
    front = np.isin(target, _ARMS) if rng.random() < 0.5 else np.zeros_like(clothes)
    front |= np.isin(target, _HEAD)
    canvas, covered = image.astype(np.float32), np.zeros(target.shape, dtype=np.uint8)
    colour = picture[shape].mean(axis=0) * rng.uniform(0.5, 1.1)
    _draw_straps(covered, (top, height), middle, wide, place, backpack, rng)
    canvas[covered > 0] = colour
    _paste(canvas, covered, picture, shape, (round(place[0] - tall / 2), round(place[1] - broad / 2)))
    put = (covered > 0) & ~front
    soft = cv2.GaussianBlur(put.astype(np.float32), (0, 0), 0.5)[..., None]
    new = target.copy()
    new[put] = BAG
    return np.clip(image * (1 - soft) + canvas * soft, 0, 255).astype(np.uint8), new


def _bag(
    image: RgbImage, clothes: Mask, others: Sequence[Example], size: tuple[int, int], rng: Rng
) -> tuple[RgbImage, Mask]:
    """Picture and shape of a bag, (height, width) = ``size``: one of another photograph, or a drawn one."""
    if rng.random() < 0.5:
        for _ in range(_TRIES):
            found = _cut_out(others[int(rng.integers(len(others)))])
            if found is not None:
                picture = cv2.resize(found[0], size[::-1], interpolation=cv2.INTER_AREA)
                shape = cv2.resize(found[1], size[::-1], interpolation=cv2.INTER_LINEAR) > 127
                if shape.any():
                    return _tinted(np.asarray(picture, dtype=np.uint8), rng), shape
    return _drawn(image, clothes, size, rng)


def _cut_out(example: Example) -> tuple[RgbImage, RgbImage] | None:
    """The largest bag of a photograph in its box, and its shape as 0 and 255; None if it is small or has none."""
    bags = (example.target == BAG).astype(np.uint8)
    if int(bags.sum()) < _FEWEST_PIXELS:
        return None
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(bags)
    number = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, wide, tall, area = (int(value) for value in stats[number])
    if area < _FEWEST_PIXELS:
        return None
    box = slice(top, top + tall), slice(left, left + wide)
    return example.image[box], np.where(numbers[box] == number, 255, 0).astype(np.uint8)


def _tinted(picture: RgbImage, rng: Rng) -> RgbImage:
    if rng.random() < 0.4:
        return picture
    values = picture.astype(np.float32)
    goal = rng.uniform(10, 200) * rng.uniform(0.6, 1.3, 3)
    tinted = (values - values.mean(axis=(0, 1))) * rng.uniform(0.5, 1.2) + goal
    return np.asarray(np.clip(tinted, 0, 255), dtype=np.uint8)


def _drawn(image: RgbImage, clothes: Mask, size: tuple[int, int], rng: Rng) -> tuple[RgbImage, Mask]:
    """A rounded bag with folds, pockets and light from above; dark, coloured, or of the clothes' own colour."""
    rows, columns = size
    kind = rng.random()
    if kind < 0.3:
        colour = image[clothes].mean(axis=0) * rng.uniform(0.6, 1.4)
    elif kind < 0.65:
        colour = rng.uniform(8, 60) + rng.normal(0, 5, 3)
    else:
        colour = rng.uniform(20, 235, 3)
    folds = rng.normal(0, rng.uniform(3, 20), (int(rng.integers(2, 7)), int(rng.integers(2, 6)))).astype(np.float32)
    light = cv2.resize(folds, (columns, rows)) + np.linspace(rng.uniform(0, 24), 0, rows, dtype=np.float32)[:, None]
    if rng.random() < 0.6:  # a pocket in the lower half
        top, side = round(rows * rng.uniform(0.4, 0.7)), round(columns * rng.uniform(0.08, 0.25))
        light[top : rows - rows // 12, side : columns - side] += rng.normal(0, 16)
        light[top : top + max(1, rows // 24), side : columns - side] -= rng.uniform(0, 40)
    shape = np.zeros(size, dtype=np.uint8)
    power = rng.uniform(2.2, 6.0)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    shape[np.abs(y) ** power + np.abs(x * (1 + 0.25 * rng.random() * -y)) ** power <= 1] = 1
    shape[rows // 2, columns // 2] = 1
    return np.clip(colour + light[..., None], 0, 255).astype(np.uint8), shape > 0


def _draw_straps(
    covered: LabelMap,
    person: tuple[int, int],
    middle: float,
    wide: float,
    place: tuple[float, float],
    backpack: bool,
    rng: Rng,
) -> None:
    top, height = person
    thick = max(1, round(height * rng.uniform(0.004, 0.022)))
    shoulder = top + height * rng.uniform(0.15, 0.2)
    if backpack:
        if rng.random() < 0.7:
            for side in (-1, 1):
                start = (round(middle + side * wide * rng.uniform(0.25, 0.42)), round(shoulder))
                stop = (round(place[1] + side * wide * 0.3), round(place[0]))
                cv2.line(covered, start, stop, 1, thick)
    elif rng.random() < 0.6:
        side = rng.choice([-1.0, 1.0])
        start = (round(middle + side * wide * rng.uniform(0.2, 0.45)), round(shoulder))
        cv2.line(covered, start, (round(place[1]), round(place[0])), 1, thick)


def _paste(canvas: np.ndarray, covered: LabelMap, picture: RgbImage, shape: Mask, corner: tuple[int, int]) -> None:
    """Put a picture at a corner (row, column) that may lie beyond the canvas, and say where it covers it."""
    top, left = corner
    rows = slice(max(0, top), min(canvas.shape[0], top + shape.shape[0]))
    columns = slice(max(0, left), min(canvas.shape[1], left + shape.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    inside = shape[part]
    canvas[rows, columns][inside] = picture[part][inside]
    covered[rows, columns][inside] = 1
