"""From a label map to the clothes mask, the shielding image and the clothes image (equations 4 and 11)."""

import hashlib
from collections.abc import Iterable
from typing import Final, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, Mask, RgbImage

Fill = Literal["white", "black", "mean", "noise", "blur"]
FILLS: Final[tuple[Fill, ...]] = get_args(Fill)
"""What covered pixels are painted with; ``white`` is the paper's.

- ``white``, ``black``: one grey value.
- ``mean``: the mean colour of the pixels that stay (mid-grey where none stay), so nothing of what is covered remains.
- ``noise``: uniform noise that is a function of the mask and of the pixels that stay.
- ``blur``: the image under a Gaussian blur of a sixteenth of its longer side. It keeps the coarse colour of what it
  covers.
"""

MID_GREY: Final = 128
BLUR_SHARE: Final = 1 / 16


def clothes_mask(label_map: LabelMap, clothes: Iterable[int], dilate: int = 0, fill_holes: bool = False) -> Mask:
    """Mask of the clothes; as the paper has it, it is exactly the clothes labels.

    Args:
        label_map: uint8 (height, width).
        clothes: Label numbers of clothes.
        dilate: Grow the mask to all pixels within this many pixels (Euclidean) of it.
        fill_holes: First add background pixels (label 0) that clothes enclose; hands and hair within clothes stay out.

    Returns:
        Boolean (height, width), true on clothes.
    """
    table = np.zeros(256, dtype=np.bool_)
    table[list(clothes)] = True
    mask: Mask = table[label_map]
    if fill_holes:
        mask = mask | (_enclosed(mask) & (label_map == 0))
    return _grow(mask, dilate) if dilate else mask


def _enclosed(mask: Mask) -> Mask:
    """Pixels outside the mask that no 4-connected path outside it joins to the image's border."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, pieces = cv2.connectedComponents(outside, connectivity=4)
    enclosed: Mask = (outside.astype(np.bool_) & (pieces != pieces[0, 0]))[1:-1, 1:-1]
    return enclosed


def _grow(mask: Mask, radius: int) -> Mask:
    reach = np.arange(-radius, radius + 1)
    disc = (reach[:, None] ** 2 + reach[None, :] ** 2 <= radius**2).astype(np.uint8)
    grown: Mask = cv2.dilate(mask.astype(np.uint8), disc).astype(np.bool_)
    return grown


def shielding_image(image: RgbImage, mask: Mask, fill: Fill = "white") -> RgbImage:
    """Equation (4): clothes pixels are covered, the rest stays.

    Args:
        image: uint8 (height, width, 3).
        mask: Boolean (height, width), true on clothes.
        fill: See :data:`FILLS`.

    Raises:
        ValueError: There is no such fill.
    """
    return _cover(image, mask, fill)


def clothes_image(image: RgbImage, mask: Mask, fill: Fill = "white") -> RgbImage:
    """Equation (11): everything but clothes is covered. Arguments and errors as :func:`shielding_image`."""
    return _cover(image, ~mask, fill)


def _cover(image: RgbImage, covered: Mask, fill: Fill) -> RgbImage:
    painted: RgbImage = np.where(covered[..., None], _paint(image, covered, fill), image)
    return painted


def _paint(image: RgbImage, covered: Mask, fill: Fill) -> NDArray[np.uint8]:
    if fill == "white":
        return np.array(255, dtype=np.uint8)
    if fill == "black":
        return np.array(0, dtype=np.uint8)
    if fill == "blur":
        sigma = max(1.0, BLUR_SHARE * max(image.shape[:2]))
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)
    if fill == "mean":
        kept = image[~covered]
        if not len(kept):
            return np.array(MID_GREY, dtype=np.uint8)
        mean: NDArray[np.uint8] = np.rint(kept.mean(axis=0, dtype=np.float64)).astype(np.uint8)
        return mean
    if fill == "noise":
        # a hash that can be drawn out to any length: the same bytes on every machine and with every version of numpy
        state = hashlib.shake_256(str(covered.shape).encode() + np.packbits(covered).tobytes())
        state.update(image[~covered].tobytes())
        return np.frombuffer(state.digest(image.size), dtype=np.uint8).reshape(image.shape)
    raise ValueError(f"unknown fill {fill!r}; known: {', '.join(FILLS)}")
