"""The batch norm of the published network, and its folding into the convolution before it."""

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

EPSILON: Final = 1e-5
SLOPE: Final = 0.01
"""Of the leaky ReLU that follows the norms of the heads."""


class ActivatedNorm(nn.Module):
    """Batch norm with fixed statistics, then leaky ReLU or nothing.

    The published weights were trained with InPlaceABN, whose kernels scale by ``|weight| + 1e-5``: a trained weight may
    be negative, and its sign means nothing. Names and shapes of the tensors are those of the published files, which
    have no ``num_batches_tracked``.

    Args:
        channels: Of the input.
        slope: Of the leaky ReLU; None: no activation.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, slope: float | None = None) -> None:
        super().__init__()
        self.slope = slope
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel that the norm amounts to, two tensors of shape (channels,)."""
        scale = (self.weight.abs() + EPSILON) * torch.rsqrt(self.running_var + EPSILON)
        return scale, self.bias - self.running_mean * scale

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        scale, shift = self.affine()
        normed = features * scale[:, None, None] + shift[:, None, None]
        return normed if self.slope is None else leaky_relu(normed, self.slope)


def fuse_norms(network: nn.Module) -> None:
    """Fold every norm into the bias-free convolution registered right before it, in place, for inference only."""
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (name, convolution), (norm_name, norm) in pairwise(children):
            if not isinstance(norm, ActivatedNorm):
                continue
            assert isinstance(convolution, nn.Conv2d), f"{norm_name} follows {name}, which is no convolution"
            setattr(parent, name, _fused(convolution, norm))
            setattr(parent, norm_name, nn.Identity() if norm.slope is None else nn.LeakyReLU(norm.slope, inplace=True))


@torch.no_grad()
def _fused(convolution: nn.Conv2d, norm: ActivatedNorm) -> nn.Conv2d:
    assert convolution.bias is None
    scale, shift = norm.affine()
    convolution.weight.mul_(scale[:, None, None, None])
    convolution.bias = nn.Parameter(shift.clone())
    return convolution
