"""The network of the embedded parser: a small residual U-Net made of torchvision's ResNet blocks.

Trained from scratch on some hundred photographs, skip connections matter more than depth: edges of garments come from
the first two levels, the kind of garment from the last. Dense 3x3 convolutions are chosen over depthwise ones because
they use a CPU's vector units far better at these sizes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock

STRIDE = 16
"""Height and width of the input must be multiples of this."""


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = None
    if inputs != outputs or stride != 1:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    rest = [BasicBlock(outputs, outputs) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), *rest)


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
    """Residual U-Net with four levels (strides 2, 4, 8, 16).

    Args:
        classes: Number of labels.
        widths: Channels of the four levels.
        blocks: Residual blocks of the four encoder levels; each decoder level has one.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (1, 2, 2, 2),
    ) -> None:
        super().__init__()
        w0, w1, w2, w3 = widths
        b0, b1, b2, b3 = blocks
        self.stem = nn.Sequential(nn.Conv2d(3, w0, 3, 2, 1, bias=False), nn.BatchNorm2d(w0), nn.ReLU(inplace=True))
        self.encoder0 = _stage(w0, w0, b0, 1)
        self.encoder1 = _stage(w0, w1, b1, 2)
        self.encoder2 = _stage(w1, w2, b2, 2)
        self.encoder3 = _stage(w2, w3, b3, 2)
        self.context = GlobalContext(w3)
        self.decoder2 = _stage(w3 + w2, w2, 1, 1)
        self.decoder1 = _stage(w2 + w1, w1, 1, 1)
        self.decoder0 = _stage(w1 + w0, w0, 1, 1)
        self.head = nn.Conv2d(w0, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes, height / 2, width / 2) of images (batch, 3, height, width) in [-1, 1].

        Height and width are multiples of :data:`STRIDE`.
        """
        level0 = self.encoder0(self.stem(images))
        level1 = self.encoder1(level0)
        level2 = self.encoder2(level1)
        level3 = self.context(self.encoder3(level2))
        level2 = self.decoder2(torch.cat([_twice(level3), level2], dim=1))
        level1 = self.decoder1(torch.cat([_twice(level2), level1], dim=1))
        level0 = self.decoder0(torch.cat([_twice(level1), level0], dim=1))
        logits: Tensor = self.head(level0)
        return logits


def _twice(features: Tensor) -> Tensor:
    return interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


def fuse_batch_norms(network: LiteNetwork) -> LiteNetwork:
    """Fold every batch norm into the convolution before it, in place, for inference only; returns the network."""
    network.eval()
    network.stem = nn.Sequential(_fused(network.stem[0], network.stem[1]), nn.ReLU(inplace=True))
    for module in list(network.modules()):
        if isinstance(module, BasicBlock):
            module.conv1, module.bn1 = _fused(module.conv1, module.bn1), nn.Identity()
            module.conv2, module.bn2 = _fused(module.conv2, module.bn2), nn.Identity()
            if module.downsample is not None:
                module.downsample = _fused(module.downsample[0], module.downsample[1])
    return network


def _fused(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm)
