"""Context from the whole image: pyramid pooling (Zhao et al. 2017)."""

from typing import Final

import torch
from torch import Tensor, nn

from pipeline.parsing.schp.layers import conv_norm, enlarge

GRIDS: Final = (1, 2, 3, 6)
"""Cells along each side that the features are averaged over."""


class PyramidPooling(nn.Module):
    """Averages over coarse grids, each reduced to ``outputs`` channels and scaled back, beside the features.

    Args:
        inputs: Channels that come in.
        outputs: Channels that come out, and of each grid.
    """

    def __init__(self, inputs: int = 2048, outputs: int = 512) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(grid), *conv_norm(inputs, outputs)) for grid in GRIDS
        )
        self.bottleneck = nn.Sequential(*conv_norm(inputs + len(GRIDS) * outputs, outputs, kernel=3))

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height, width)."""
        pooled = [enlarge(stage(features), features) for stage in self.stages]
        result: Tensor = self.bottleneck(torch.cat([*pooled, features], dim=1))
        return result
