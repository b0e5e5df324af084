"""From a label map to the clothes mask, the shielding image and the clothes image (equations 4 and 11)."""

from collections.abc import Iterable

import numpy as np

from pipeline.images import LabelMap, Mask, RgbImage

WHITE = 255


def clothes_mask(label_map: LabelMap, clothes: Iterable[int]) -> Mask:
    """Boolean (height, width): true where ``label_map`` has one of the ``clothes`` label numbers."""
    table = np.zeros(256, dtype=np.bool_)
    table[list(clothes)] = True
    return table[label_map]


def shielding_image(image: RgbImage, mask: Mask, fill: int = WHITE) -> RgbImage:
    """Equation (4): clothes pixels become ``fill``, the rest stays. ``mask`` is true on clothes."""
    return np.where(mask[..., None], np.uint8(fill), image)


def clothes_image(image: RgbImage, mask: Mask, fill: int = WHITE) -> RgbImage:
    """Equation (11): everything but clothes becomes ``fill``. ``mask`` is true on clothes."""
    return np.where(mask[..., None], image, np.uint8(fill))
