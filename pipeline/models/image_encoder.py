"""E_v: an open_clip image tower that also gives the features before its projection."""

from typing import Any, NamedTuple

from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from pipeline.errors import InputError


class ImageFeatures(NamedTuple):
    """What CLIP-ReID's recipe needs of an image.

    Attributes:
        projected: (B, D) in the space shared with text (512-d for ViT-B/16).
        hidden: (B, C) before the projection (768-d for ViT-B/16; for a ResNet the pooled last stage).
        earlier: (B, C') one block earlier (the 11th block's class token; for a ResNet the pooled third stage).
    """

    projected: Tensor
    hidden: Tensor
    earlier: Tensor


class ImageEncoder(nn.Module):
    """Common part of the encoders below; ``tower`` is the open_clip module and holds all weights."""

    tower: Any  # open_clip ships no types
    projected_dim: int
    hidden_dim: int
    earlier_dim: int

    def forward(self, images: Tensor) -> ImageFeatures:
        """Normalised images (B, 3, H, W) -> their features."""
        raise NotImplementedError


class TransformerEncoder(ImageEncoder):
    """A vision transformer of open_clip with a class token."""

    def __init__(self, tower: VisionTransformer) -> None:
        super().__init__()
        self.tower = tower
        self.projected_dim = tower.proj.shape[1]
        self.hidden_dim = tower.proj.shape[0]
        self.earlier_dim = tower.transformer.width
        self._blocks = len(tower.transformer.resblocks)

    def forward(self, images: Tensor) -> ImageFeatures:
        """Normalised images (B, 3, H, W) -> class-token features of the last blocks and their projection."""
        tower = self.tower
        tokens = tower._embeds(images)
        blocks = tower.transformer.resblocks
        for block in blocks[:-1]:
            tokens = block(tokens)
        earlier = tokens[:, 0]
        hidden, _ = tower._pool(blocks[-1](tokens))
        return ImageFeatures(projected=hidden @ tower.proj, hidden=hidden, earlier=earlier)


class ResNetEncoder(ImageEncoder):
    """CLIP's modified ResNet with attention pooling."""

    def __init__(self, tower: ModifiedResNet) -> None:
        super().__init__()
        self.tower = tower
        self.projected_dim = tower.attnpool.c_proj.out_features
        self.hidden_dim = tower.attnpool.c_proj.in_features
        self.earlier_dim = self.hidden_dim // 2

    def forward(self, images: Tensor) -> ImageFeatures:
        """Normalised images (B, 3, H, W) -> pooled features of the last two stages and the attention pool's."""
        tower = self.tower
        third = tower.layer3(tower.layer2(tower.layer1(tower.stem(images))))
        fourth = tower.layer4(third)
        return ImageFeatures(
            projected=tower.attnpool(fourth), hidden=fourth.mean(dim=(2, 3)), earlier=third.mean(dim=(2, 3))
        )


def wrap_image_tower(tower: nn.Module) -> ImageEncoder:
    """Choose the encoder for an open_clip image tower.

    Raises:
        InputError: The tower is of a kind whose inner features are not known here.
    """
    if isinstance(tower, VisionTransformer) and tower.pool_type == "tok" and tower.attn_pool is None:
        return TransformerEncoder(tower)
    if isinstance(tower, ModifiedResNet):
        return ResNetEncoder(tower)
    raise InputError(
        f"image tower {type(tower).__name__} is not supported: choose an open_clip vision transformer with a class "
        f"token (such as ViT-B-16-quickgelu) or a CLIP ResNet (such as RN50-quickgelu)"
    )
