"""The encoder of the embedded parser: EfficientNet-Lite without its classifier.

EfficientNet (Tan and Le, ICML 2019) made for processors without fast squeeze-and-excitation or swish: ReLU6 everywhere,
and stem and first and last stage are not scaled. Paddings and constants are those of the published ImageNet weights
(converted from TensorFlow), so that these can be loaded as they are: :mod:`pipeline.parsing.lite.training.pretrained`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

STEM_CHANNELS: Final = 32
NORM_EPS: Final = 1e-3
NORM_MOMENTUM: Final = 0.01


@dataclass(frozen=True)
class Stage:
    """Some inverted residual blocks; the first one changes channels and stride.

    Attributes:
        expansion: Hidden channels of a block, as a multiple of its inputs.
        kernel: Side of the depthwise kernel.
        stride: Of the first block.
        channels: Outputs.
        blocks: How many.
    """

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


STAGES: Final[dict[str, tuple[Stage, ...]]] = {
    "efficientnet-lite0": (
        Stage(1, 3, 1, 16, 1),
        Stage(6, 3, 2, 24, 2),
        Stage(6, 5, 2, 40, 2),
        Stage(6, 3, 2, 80, 3),
        Stage(6, 5, 1, 112, 3),
        Stage(6, 5, 2, 192, 4),
        Stage(6, 3, 1, 320, 1),
    ),
}
"""Stages by published variant. The larger ones differ by multiples of width and depth."""


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and ReLU6 unless ``linear``.

    With a stride of 2 the padding is TensorFlow's "same": one pixel less before than after, for even sizes.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        before, after = (kernel - 1) // 2, (kernel - stride) // 2 if stride > 1 else (kernel - 1) // 2
        self._pad = (after, before, after, before) if before != after else None
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, 0 if self._pad else before, groups=groups, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(outputs, NORM_EPS, NORM_MOMENTUM)
        self.activation: nn.Module = nn.Identity() if linear else nn.ReLU6(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        if self._pad:
            features = pad(features, self._pad)
        result: Tensor = self.activation(self.norm(self.convolution(features)))
        return result

    def fold(self) -> None:
        """Fold the batch norm into the convolution, for inference only."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.convolution = fuse_conv_bn_eval(self.convolution, self.norm)
            self.norm = nn.Identity()


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter depthwise, project by a 1x1 convolution; added to the input where it fits."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expand = ConvNorm(inputs, hidden) if stage.expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(hidden, hidden, stage.kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, stage.channels, linear=True)
        self._adds = stride == 1 and inputs == stage.channels

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, inputs, height, width) to (batch, channels, height / stride, width / stride)."""
        result: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + result if self._adds else result


class Encoder(nn.Module):
    """Stem and stages.

    Args:
        stages: Of one variant, from the first on; later ones may be left out.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM_CHANNELS, 3, 2)
        blocks: list[nn.Module] = []
        channels = STEM_CHANNELS
        last_of_stride: dict[int, tuple[int, int]] = {}
        stride = 2
        for stage in stages:
            for number in range(stage.blocks):
                step = stage.stride if number == 0 else 1
                blocks.append(InvertedResidual(channels, stage, step))
                channels, stride = stage.channels, stride * step
                last_of_stride[stride] = (len(blocks) - 1, channels)
        self.blocks = nn.ModuleList(blocks)
        self.channels = tuple(width for _, width in last_of_stride.values())
        self._kept = frozenset(index for index, _ in last_of_stride.values())

    def forward(self, images: Tensor) -> list[Tensor]:
        """The last features of each stride (2, 4, 8, ...) of images (batch, 3, height, width) in [-1, 1]."""
        features = self.stem(images)
        levels = []
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in self._kept:
                levels.append(features)
        return levels


def fold_batch_norms(network: nn.Module) -> None:
    """Fold every batch norm into the convolution before it, in place, for inference only."""
    network.eval()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fold()


def count_parameters(network: nn.Module) -> int:
    """Number of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
