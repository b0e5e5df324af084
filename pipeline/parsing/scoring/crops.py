"""Examples with known labels, and the crops made of them: a detector's box, and the view of a given size."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.images import LabelMap, Mask, RgbImage


@dataclass(frozen=True)
class Example:
    """An image with its true labels.

    Attributes:
        name: Its path or file stem, for messages and for parsers that look results up.
        image: RGB uint8 (height, width, 3).
        target: uint8 (height, width); what the numbers mean is known to whoever reads it.
    """

    name: str
    image: RgbImage
    target: LabelMap


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; it may reach beyond the image."""

    left: int
    top: int
    width: int
    height: int


def box_around(person: Mask) -> Box:
    """Smallest box around a mask.

    Raises:
        ValueError: The mask is empty.
    """
    rows, columns = np.flatnonzero(person.any(axis=1)), np.flatnonzero(person.any(axis=0))
    if not rows.size:
        raise ValueError("there is no person")
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def detector_box(box: Box, padding: float = 0.04) -> Box:
    """Widen a person's box to a detector's crop: ``padding`` (share of the height) on every side, then 2:1."""
    pad = padding * box.height
    height = max(box.height + 2 * pad, 2 * (box.width + 2 * pad))
    whole = round(height / 2) * 2
    left = round(box.left + box.width / 2 - whole / 4)
    top = round(box.top + box.height / 2 - whole / 2)
    return Box(left, top, whole // 2, whole)


def cut(example: Example, box: Box, height: int, width: int) -> Example:
    """Cut ``box`` out and scale it to ``height`` x ``width``; beyond the image, its edge is repeated, as background."""
    rows, columns = example.target.shape
    above, left = max(0, -box.top), max(0, -box.left)
    below = max(0, box.top + box.height - rows)
    right = max(0, box.left + box.width - columns)
    image = cv2.copyMakeBorder(example.image, above, below, left, right, cv2.BORDER_REPLICATE)
    target = cv2.copyMakeBorder(example.target, above, below, left, right, cv2.BORDER_CONSTANT, value=0)
    top, start = box.top + above, box.left + left
    image = image[top : top + box.height, start : start + box.width]
    target = target[top : top + box.height, start : start + box.width]
    way = cv2.INTER_AREA if box.height > height else cv2.INTER_LINEAR
    return Example(
        example.name,
        np.asarray(cv2.resize(image, (width, height), interpolation=way), dtype=np.uint8),
        np.asarray(cv2.resize(target, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8),
    )


def shrink(example: Example, height: int) -> Example:
    """The example scaled down to ``height`` pixels, to keep memory and warping small; unchanged if not higher."""
    rows, columns = example.target.shape
    if rows <= height:
        return example
    return cut(example, Box(0, 0, columns, rows), height, round(columns * height / rows))


def whole_view(example: Example, size: tuple[int, int]) -> Example:
    """The whole example scaled to ``size`` (height, width), for images that are crops already."""
    rows, columns = example.target.shape
    return cut(example, Box(0, 0, columns, rows), *size)
