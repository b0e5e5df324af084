"""The backbone of SCHP: ResNet-101 with a stem of three convolutions, and a last level that is dilated, not strided."""

from typing import Final, NamedTuple

from torch import Tensor, nn

from pipeline.parsing.schp.norm import ActivatedNorm

STEM_CHANNELS: Final = 128
EXPANSION: Final = 4
BLOCKS: Final = (3, 4, 23, 3)
"""Bottlenecks of each level: ResNet-101."""


class Levels(NamedTuple):
    """Features of the four levels, for an input of S x S: 256 channels at S/4, 512 at S/8, 1024 and 2048 at S/16."""

    level1: Tensor
    level2: Tensor
    level3: Tensor
    level4: Tensor


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3, 1x1 with the stride on the 3x3.

    Args:
        inputs: Channels that come in.
        channels: Channels of the 3x3; four times as many come out.
        stride: Of the 3x3.
        dilation: Of the 3x3.
    """

    def __init__(self, inputs: int, channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        outputs = channels * EXPANSION
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = ActivatedNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = ActivatedNorm(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = ActivatedNorm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), ActivatedNorm(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, 4 x channels, height / stride, width / stride)."""
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        skipped: Tensor = features if self.downsample is None else self.downsample(features)
        result: Tensor = self.relu(inner + skipped)
        return result


class Backbone(nn.Module):
    """Stem, max pooling and four levels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, padding=1, bias=False)
        self.bn1 = ActivatedNorm(64)
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        self.bn2 = ActivatedNorm(64)
        self.conv3 = nn.Conv2d(64, STEM_CHANNELS, 3, padding=1, bias=False)
        self.bn3 = ActivatedNorm(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _level(STEM_CHANNELS, 64, BLOCKS[0])
        self.layer2 = _level(256, 128, BLOCKS[1], stride=2)
        self.layer3 = _level(512, 256, BLOCKS[2], stride=2)
        # the published multi-grid is (1, 1, 1): every block of the last level has the same dilation
        self.layer4 = _level(1024, 512, BLOCKS[3], dilation=2)

    def forward(self, images: Tensor) -> Levels:
        """Map (batch, 3, height, width) to the features of the levels."""
        stem = self.relu(self.bn1(self.conv1(images)))
        stem = self.relu(self.bn2(self.conv2(stem)))
        stem = self.relu(self.bn3(self.conv3(stem)))
        level1 = self.layer1(self.maxpool(stem))
        level2 = self.layer2(level1)
        level3 = self.layer3(level2)
        return Levels(level1, level2, level3, self.layer4(level3))


def _level(inputs: int, channels: int, blocks: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    first = Bottleneck(inputs, channels, stride, dilation)
    return nn.Sequential(
        first, *(Bottleneck(channels * EXPANSION, channels, dilation=dilation) for _ in range(blocks - 1))
    )
