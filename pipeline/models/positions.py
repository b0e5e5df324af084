"""Position embeddings on grids that need not be square: resized once, from a known grid; a smooth start."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_positions(positions: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Resize the grid part of a position embedding bilinearly (CLIP-ReID's way); the class token's row stays.

    Args:
        positions: (1 + source height * source width, C); row 0 belongs to the class token.
        source: Grid (height, width) the embedding was made for.
        target: Grid (height, width) that is wanted.

    Returns:
        (1 + target height * target width, C).

    Raises:
        ValueError: The number of rows does not fit ``source``.
    """
    if positions.shape[0] != 1 + source[0] * source[1]:
        raise ValueError(f"{positions.shape[0]} position rows do not fit a {source[0]} x {source[1]} grid")
    if source == target:
        return positions
    grid = positions[1:].T.reshape(1, -1, *source)
    resized = F.interpolate(grid, size=target, mode="bilinear", align_corners=False)
    return torch.cat([positions[:1], resized.flatten(2)[0].T])


def waves(grid: tuple[int, int], channels: int, shortest: float = 4.0, longest: float = 40.0) -> Tensor:
    """Sines and cosines of row and column, half the channels each: near places alike, far ones not.

    Args:
        grid: Height and width in patches.
        channels: A multiple of 4.
        shortest: Wave length in patches.
        longest: Wave length in patches.

    Returns:
        (height * width, channels), between -1 and 1.
    """
    lengths = shortest * (longest / shortest) ** (torch.arange(channels // 4) / (channels // 4))

    def along(count: int) -> Tensor:
        angles = 2 * math.pi * torch.arange(count)[:, None] / lengths
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    rows, columns = along(grid[0])[:, None].expand(-1, grid[1], -1), along(grid[1])[None].expand(grid[0], -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)
