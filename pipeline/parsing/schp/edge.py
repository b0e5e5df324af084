"""The edge branch: where one part ends and another begins, from the first three levels."""

import torch
from torch import Tensor, nn

from pipeline.parsing.schp.layers import conv_norm, enlarge


class EdgeBranch(nn.Module):
    """Reduces three levels to equal features, and predicts an edge from each and from all together."""

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
