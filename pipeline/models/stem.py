"""Patch embeddings of a vision transformer: the linear one, or a stack of small convolutions in its place."""

from torch import Tensor, nn


class ConvStem(nn.Module):
    """Stride-2 3x3 convolutions with batch norm and ReLU, then a 1x1 convolution to the transformer's width.

    After Xiao et al. 2021 (Early Convolutions Help Transformers See Better). Takes the place of a patch convolution of
    the same total stride: (B, 3, H, W) -> (B, width, H / patch, W / patch).

    Args:
        width: Channels of the transformer.
        patch: Total stride, a power of two.
    """

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        steps = patch.bit_length() - 1
        if 2**steps != patch:
            raise ValueError(f"a convolutional stem needs a patch size that is a power of two, not {patch}")
        layers: list[nn.Module] = []
        channels = 3
        for step in range(steps):
            wider = max(width >> (steps - 1 - step), 16)
            layers += [
                nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.ReLU(inplace=True),
            ]
            channels = wider
        layers.append(nn.Conv2d(channels, width, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width, H / patch, W / patch)."""
        features: Tensor = self.layers(images)
        return features
