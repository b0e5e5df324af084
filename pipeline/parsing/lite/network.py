"""The network of the embedded parser: an EfficientNet-Lite encoder and a light U-Net decoder.

The encoder brings what ImageNet taught about shapes and fabrics, which some hundred photographs cannot; the decoder
brings its levels back to half the input's resolution, where the edges of garments are. Its 3x3 convolutions are dense:
they use a CPU's vector units far better than depthwise ones of the same cost.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pipeline.parsing.lite.encoder import STAGES, ConvNorm, Encoder

STRIDE: Final = 32
"""Height and width of the input must be multiples of this."""


class GlobalContext(nn.Module):
    """Adds a learned function of the image's mean feature to every position: what the scene is, seen from anywhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 2)
        self.expand = nn.Linear(channels // 2, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, channels, height, width), same shape out."""
        mean = features.mean(dim=(2, 3))
        added: Tensor = self.expand(torch.relu(self.squeeze(mean)))
        return features + added[:, :, None, None]


class LiteNetwork(nn.Module):
    """EfficientNet-Lite U-Net; logits at half the input's resolution.

    Args:
        classes: Number of labels.
        backbone: A name in ``encoder.STAGES``.
        stages: How many of its stages are used, the first ones; the strides 2 to 32 need at least six.
        widths: Channels of the decoder's levels, strides 2, 4, 8, 16 and 32.
    """

    def __init__(
        self,
        classes: int,
        backbone: str = "efficientnet-lite0",
        stages: int = 7,
        widths: Sequence[int] = (32, 48, 64, 96, 128),
    ) -> None:
        super().__init__()
        self.encoder = Encoder(STAGES[backbone][:stages])
        skips = self.encoder.channels
        self.top = nn.Sequential(ConvNorm(skips[4], widths[4]), GlobalContext(widths[4]))
        self.decoder = nn.ModuleList(
            _level(widths[level + 1] + skips[level], widths[level], 2 if level else 1) for level in range(4)
        )
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes, height / 2, width / 2) of images (batch, 3, height, width) in [-1, 1].

        Height and width are multiples of :data:`STRIDE`.
        """
        *skips, last = self.encoder(images)
        features = self.top(last)
        for level in (3, 2, 1, 0):
            features = interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
            features = self.decoder[level](torch.cat([features, skips[level]], dim=1))
        logits: Tensor = self.head(features)
        return logits


def _level(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    rest = [ConvNorm(outputs, outputs, 3) for _ in range(convolutions - 1)]
    return nn.Sequential(ConvNorm(inputs, outputs, 3), *rest)
