"""What stands on SCHP's backbone: context from the whole image, the edge branch, and the parsing branch."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pipeline.parsing.schp.norm import SLOPE, ActivatedNorm

GRIDS: Final = (1, 2, 3, 6)
"""Cells along each side that the features are averaged over."""


def conv_norm(inputs: int, outputs: int, kernel: int = 1) -> tuple[nn.Conv2d, ActivatedNorm]:
    """A convolution without bias that keeps the size, and its norm with leaky ReLU."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), ActivatedNorm(outputs, SLOPE)


def enlarge(features: Tensor, like: Tensor) -> Tensor:
    """Scale (batch, channels, height, width) bilinearly to the height and width of ``like``; corners stay corners."""
    return interpolate(features, size=like.shape[2:], mode="bilinear", align_corners=True)


class PyramidPooling(nn.Module):
    """Pyramid pooling (Zhao et al. 2017): averages over coarse grids beside the features.

    Each average is reduced to ``outputs`` channels and scaled back.

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


class EdgeBranch(nn.Module):
    """Where one part ends and another begins: three levels are reduced to equal features, and an edge is predicted from
    each and from all together."""

    def __init__(self, channels: int = 256, classes: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*conv_norm(256, channels))
        self.conv2 = nn.Sequential(*conv_norm(512, channels))
        self.conv3 = nn.Sequential(*conv_norm(1024, channels))
        self.conv4 = nn.Conv2d(channels, classes, 3, padding=1)  # one and the same for all levels
        self.conv5 = nn.Conv2d(3 * classes, classes, 1)

    def forward(self, level1: Tensor, level2: Tensor, level3: Tensor) -> tuple[Tensor, Tensor]:
        """From three levels to edge logits (batch, 2, ...) and features (batch, 768, ...) of the first one's size."""
        features = [self.conv1(level1), self.conv2(level2), self.conv3(level3)]
        # predicted at each level's own size, then scaled: not the same as the other way round
        edges = [enlarge(self.conv4(each), level1) for each in features]
        logits: Tensor = self.conv5(torch.cat(edges, dim=1))
        return logits, torch.cat([enlarge(each, level1) for each in features], dim=1)


class Decoder(nn.Module):
    """The parsing branch: predicts the classes from context and the fine features of the first level.

    Args:
        classes: Labels of the scheme.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*conv_norm(512, 256))
        self.conv2 = nn.Sequential(*conv_norm(256, 48))
        self.conv3 = nn.Sequential(*conv_norm(256 + 48, 256), *conv_norm(256, 256))
        self.conv4 = nn.Conv2d(256, classes, 1)

    def forward(self, context: Tensor, level1: Tensor) -> tuple[Tensor, Tensor]:
        """From context (batch, 512, ...) and level 1 (batch, 256, ...) to logits and features (batch, 256, ...).

        Both have the height and width of level 1.
        """
        fine = self.conv2(level1)
        features: Tensor = self.conv3(torch.cat([enlarge(self.conv1(context), level1), fine], dim=1))
        return self.conv4(features), features
