"""The parsing branch: context joined with the fine features of the first level."""

import torch
from torch import Tensor, nn

from pipeline.parsing.schp.layers import conv_norm, enlarge


class Decoder(nn.Module):
    """Predicts the classes from context and the first level.

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
