"""Position embeddings on non-square grids: resized once, from a grid that is known and never guessed."""

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
