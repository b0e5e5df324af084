"""Between an image and the network's square input, as the published extractor does it.

The box ``[0, 0, width - 1, height - 1]`` is widened to a square around its centre, and its corners meet the centres of
the input's corner pixels: the longer side fills the input, and the rest is black.
"""

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.images import RgbImage
from pipeline.parsing.labelling import Taps, taps_at

MEAN: Final = (0.406, 0.456, 0.485)
STD: Final = (0.225, 0.224, 0.229)
"""Of the channels in [0, 1], in the network's order: blue, green, red."""


def warp_to_input(image: RgbImage, size: int) -> RgbImage:
    """The network's input before it is normalised.

    Args:
        image: RGB (height, width, 3).
        size: Height and width of the input.

    Returns:
        RGB (size, size, 3), sampled bilinearly; what lies outside the image counts as black.
    """
    height, width = image.shape[:2]
    warped = cv2.warpAffine(
        image,
        _image_to_input(height, width, size),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )
    return np.asarray(warped, dtype=np.uint8)


def normalise(images: Tensor) -> Tensor:
    """From RGB uint8 (batch, height, width, 3) to the network's BGR float (batch, 3, height, width)."""
    mean = torch.tensor(MEAN, device=images.device)
    std = torch.tensor(STD, device=images.device)
    return ((images.flip(-1).float() / 255.0 - mean) / std).permute(0, 3, 1, 2)


def taps_back(height: int, width: int, size: int) -> tuple[Taps, Taps]:
    """Where the rows and the columns of an image of ``height`` x ``width`` lie in the network's input.

    There is no rotation, so the warp of the logits back to the image is one linear interpolation along each side.
    The whole image lies inside the input: no border comes into it.
    """
    scale = _scale(height, width, size)
    rows, columns = (
        (size - 1) / 2 + scale * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) for side in (height, width)
    )
    return taps_at(rows, size), taps_at(columns, size)


def _scale(height: int, width: int, size: int) -> float:
    # an image of one pixel has a box without extent; it is shown at the scale of one with two
    return (size - 1) / max(height - 1, width - 1, 1)


def _image_to_input(height: int, width: int, size: int) -> NDArray[np.float64]:
    """Matrix (2, 3) from pixel positions (x, y) of the image to those of the input."""
    scale = _scale(height, width, size)
    middle = (size - 1) / 2
    return np.array([[scale, 0.0, middle - scale * (width - 1) / 2], [0.0, scale, middle - scale * (height - 1) / 2]])
