"""Between an image and the network's square input, as the published extractor does it.

The box ``[0, 0, width - 1, height - 1]`` is widened to a square around its centre, and its corners meet the centres of
the input's corner pixels: the longer side fills the input, and the rest is black.

The published extractor samples with ``cv2.warpAffine`` of OpenCV 4, which computes in integers; that of OpenCV 5
computes in floating point, and the two differ by some grey levels. So the sampling is written out here, with the bytes
of OpenCV 4 whichever release is installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.images import RgbImage
from pipeline.parsing.labelling import Taps, taps_at

MEAN: Final = (0.406, 0.456, 0.485)
STD: Final = (0.225, 0.224, 0.229)
"""Of the channels in [0, 1], in the network's order: blue, green, red."""


_Integers: TypeAlias = NDArray[np.unsignedinteger[Any]]

_POSITION_BITS: Final = 10
"""Positions in the image are first rounded to so many bits of a pixel, each of their two terms by itself..."""

_SHARE_BITS: Final = 5
"""...and then, their sum, to so many: a side's two shares are integers that add up to 32."""


@dataclass(frozen=True)
class _Shares:
    """Bilinear sampling along one side, in integers.

    Attributes:
        window: The outputs whose sample has anything of the image; the others are black.
        first: int64 (outputs in the window,), index of the first input.
        second: The same of the second input.
        first_share: int64 (outputs in the window,), share of the first input in 32; 0 if it lies outside the image.
        second_share: The same of the second input.
    """

    window: slice
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    first_share: NDArray[np.int64]
    second_share: NDArray[np.int64]


def warp_to_input(image: RgbImage, size: int) -> RgbImage:
    """The network's input before it is normalised.

    Args:
        image: RGB (height, width, 3).
        size: Height and width of the input.

    Returns:
        RGB (size, size, 3), sampled bilinearly; what lies outside the image counts as black. The bytes are those of
        ``cv2.warpAffine`` in OpenCV 4.
    """
    height, width = image.shape[:2]
    rows, columns = _both_shares(height, width, size)
    # the shorter side first: what lies between the two steps is never larger than it must be
    if height >= width:
        sampled = _sample(_sample(image, rows, 0, np.uint16), columns, 1, np.uint32)
    else:
        sampled = _sample(_sample(image, columns, 1, np.uint16), rows, 0, np.uint32)
    sampled += 1 << (2 * _SHARE_BITS - 1)  # halves are rounded up
    sampled >>= 2 * _SHARE_BITS
    warped = np.zeros((size, size, 3), dtype=np.uint8)
    warped[rows.window, columns.window] = sampled
    return warped


def _both_shares(height: int, width: int, size: int) -> tuple[_Shares, _Shares]:
    """The shares of an image's rows and columns in those of the network's input."""
    positions = _positions_in_image(height, width, size)
    rows, columns = (_shares(own, side) for own, side in zip(positions, (height, width), strict=True))
    return rows, columns


def _positions_in_image(height: int, width: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the input's rows and columns lie in the image, int64 (size,) each, in 32nds of a pixel.

    The order of the operations is OpenCV's, in which the terms of a column's position are rounded one by one.
    """
    scale = _scale(height, width, size)
    back = scale * (1.0 / (scale * scale))
    top, left = (-back * ((size - 1) / 2 - scale * (side - 1) / 2) for side in (height, width))
    steps = back * np.arange(size)
    fine = 1 << _POSITION_BITS
    rows = np.rint((steps + top) * fine).astype(np.int64)
    columns = np.rint(left * fine).astype(np.int64) + np.rint(steps * fine).astype(np.int64)
    shift = _POSITION_BITS - _SHARE_BITS
    half = 1 << (shift - 1)
    return (rows + half) >> shift, (columns + half) >> shift


def _shares(positions: NDArray[np.int64], inputs: int) -> _Shares:
    """The shares of ``inputs`` pixels along one side at positions in 32nds of a pixel."""
    before = positions >> _SHARE_BITS
    inside = np.flatnonzero((before >= -1) & (before < inputs))  # without gaps, as positions only grow
    # a line of a few pixels by thousands may fall between the samples of an even size
    window = slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)
    before, share = before[window], positions[window] & ((1 << _SHARE_BITS) - 1)
    first_share = np.where(before >= 0, (1 << _SHARE_BITS) - share, 0)
    second_share = np.where(before + 1 < inputs, share, 0)
    return _Shares(window, before.clip(min=0), (before + 1).clip(max=inputs - 1), first_share, second_share)


def _sample(values: _Integers, shares: _Shares, axis: int, kind: type[np.uint16 | np.uint32]) -> _Integers:
    """Weighted sums along an axis of (rows, columns, 3), in integers of a kind that holds them."""

    def share_of(inputs: NDArray[np.int64], shares: NDArray[np.int64]) -> _Integers:
        weights: _Integers = np.expand_dims(shares.astype(kind), (1, 2) if axis == 0 else (0, 2))
        part: _Integers = np.take(values, inputs, axis).astype(kind)
        part *= weights
        return part

    sampled = share_of(shares.first, shares.first_share)
    sampled += share_of(shares.second, shares.second_share)
    return sampled


def warp_arrays(height: int, width: int, size: int) -> dict[str, NDArray[Any]]:
    """What :func:`warp_on_device` needs besides an image of ``height`` x ``width`` pixels, for the device."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, shares in zip(("rows", "columns"), _both_shares(height, width, size), strict=True):
        arrays |= {f"{name}-first": shares.first, f"{name}-second": shares.second}
        arrays[f"{name}-shares"] = np.stack([shares.first_share, shares.second_share]).astype(np.int32)
    return arrays


def warp_on_device(tensors: Mapping[str, Tensor], height: int, width: int, size: int) -> Tensor:
    """:func:`warp_to_input` on a device, byte for byte: it is computed in integers there, too.

    Args:
        tensors: The image, uint8 (height, width, 3), and :func:`warp_arrays`, all on the device.
        height: Of the image.
        width: Of the image.
        size: Height and width of the input.
    """
    values = tensors["image"].to(torch.int32)
    for axis, name in enumerate(("rows", "columns")):
        shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
        first, second = (tensors[f"{name}-shares"][number].reshape(shape) for number in range(2))
        values = (
            values.index_select(axis, tensors[f"{name}-first"]) * first
            + values.index_select(axis, tensors[f"{name}-second"]) * second
        )
    rows, columns = _both_shares(height, width, size)
    warped = torch.zeros((size, size, 3), dtype=torch.uint8, device=values.device)
    warped[rows.window, columns.window] = (values + (1 << (2 * _SHARE_BITS - 1))) >> (2 * _SHARE_BITS)
    return warped


def normalise(images: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> Tensor:
    """From RGB uint8 (batch, height, width, 3) to the network's BGR float (batch, 3, height, width).

    Args:
        images: The images.
        mean: :data:`MEAN`, where it lies on the images' device already.
        std: :data:`STD`, likewise.
    """
    mean = torch.tensor(MEAN, device=images.device) if mean is None else mean
    std = torch.tensor(STD, device=images.device) if std is None else std
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
