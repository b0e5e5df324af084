"""Which of several people an image is about: the one around its centre."""

from typing import Final

import cv2
import numpy as np

from pipeline.images import LabelMap, Mask

GAP: Final = 0.02
"""Pixels of one person may lie apart by about twice this share of the image's height (a belt, a bare midriff)."""


def central_box(shape: tuple[int, int]) -> tuple[slice, slice]:
    """The middle half of an image in both directions, at least one pixel: rows, columns."""
    rows, columns = (slice(size // 4, max(size // 4 + 1, size - size // 4)) for size in shape)
    return rows, columns


def central_group(present: Mask, gap: float = GAP) -> Mask | None:
    """The pixels of the group that has the most pixels in the image's central box; None if no group reaches into it.

    Groups are the connected pieces (8-connectivity) after every pixel was widened to a square of 2 r + 1 pixels with
    r = max(1, round(gap * height)), so that pieces at most 2 r pixels apart belong together.

    Args:
        present: Pixels of people or clothes, bool (height, width).
        gap: Share of the height.
    """
    radius = max(1, round(gap * present.shape[0]))
    widened = cv2.dilate(present.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), dtype=np.uint8))
    count, groups = cv2.connectedComponents(widened, connectivity=8)
    box = central_box((present.shape[0], present.shape[1]))
    pixels = np.bincount(groups[box][present[box]], minlength=count)
    pixels[0] = 0
    if not pixels.any():
        return None
    return np.asarray(present & (groups == int(pixels.argmax())), dtype=np.bool_)


def most_central(masks: list[Mask]) -> Mask | None:
    """The mask with the most pixels in the image's central box, the first of equals; None if none reaches into it."""
    inside = [int(np.count_nonzero(mask[central_box((mask.shape[0], mask.shape[1]))])) for mask in masks]
    if not any(inside):
        return None
    return masks[int(np.argmax(inside))]


def keep_group(label_map: LabelMap, probability: np.ndarray, gap: float = GAP) -> bool:
    """Set to background, in place, what is not of the central group; False, and nothing set, if there is none."""
    group = central_group(np.asarray(label_map != 0, dtype=np.bool_), gap)
    if group is None:
        return False
    label_map[~group] = 0
    probability[~group] = 0
    return True
