"""Small pieces that the heads share."""

from torch import Tensor, nn
from torch.nn.functional import interpolate

from pipeline.parsing.schp.norm import SLOPE, ActivatedNorm


def conv_norm(inputs: int, outputs: int, kernel: int = 1) -> tuple[nn.Conv2d, ActivatedNorm]:
    """A convolution without bias that keeps the size, and its norm with leaky ReLU."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), ActivatedNorm(outputs, SLOPE)


def enlarge(features: Tensor, like: Tensor) -> Tensor:
    """Scale (batch, channels, height, width) bilinearly to the height and width of ``like``; corners stay corners."""
    return interpolate(features, size=like.shape[2:], mode="bilinear", align_corners=True)
