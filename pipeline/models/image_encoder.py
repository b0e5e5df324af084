"""E_v: an open_clip image tower that also gives the features before its projection."""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from pipeline.errors import InputError

CAMERA_STD = 0.02

FeatureKind = Literal["concat", "projected"]
"""The feature that is compared: hidden and projected side by side, or the projected one."""


class ImageFeatures(NamedTuple):
    """What CLIP-ReID's recipe needs of an image.

    Attributes:
        projected: (B, D) in the space shared with text (512-d for ViT-B/16).
        hidden: (B, C) before the projection (768-d for ViT-B/16; for a ResNet the pooled last stage).
        earlier: (B, C') one block earlier (the 11th block's class token; for a ResNet the pooled third stage).

    A tower that pools its tokens by attention, as SigLIP's, has its projected feature from there; its hidden one is the
    class token, or the mean of the patches where there is none, as a ResNet's is the mean of its last stage.
    """

    projected: Tensor
    hidden: Tensor
    earlier: Tensor

    @property
    def joined(self) -> Tensor:
        """Hidden and projected side by side, (B, C + D): what CLIP-ReID compares at test time."""
        return torch.cat([self.hidden, self.projected], dim=1)


class CameraEmbedding(nn.Module):
    """Side information of TransReID (He et al. 2021): one learned vector a camera, added to a transformer's tokens.

    A camera that was not trained on has the mean of the trained cameras' vectors.

    Args:
        cameras: Camera ids, (N,), ascending.
        width: Channels of the tokens.
        scale: Factor on the vectors; CLIP-ReID uses 1 for people.
        generator: For the initial vectors, N(0, 0.02).
    """

    cameras: Tensor

    def __init__(self, cameras: Tensor, width: int, scale: float, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.register_buffer("cameras", cameras.to(torch.int64))
        self.weight = nn.Parameter(torch.randn(len(cameras), width, generator=generator) * CAMERA_STD)
        self.scale = scale

    def forward(self, cameras: Tensor) -> Tensor:
        """Camera ids (B,) -> vectors (B, width), scaled."""
        rows = torch.searchsorted(self.cameras, cameras).clamp(max=len(self.cameras) - 1)
        unseen = self.cameras[rows] != cameras
        vectors = torch.where(unseen[:, None], self.weight.mean(dim=0), self.weight[rows])
        return self.scale * vectors


class ImageEncoder(nn.Module):
    """Common part of the encoders below; ``tower`` is the open_clip module and holds all weights but the cameras'."""

    tower: Any  # open_clip ships no types
    camera_embedding: CameraEmbedding | None
    projected_dim: int
    hidden_dim: int
    earlier_dim: int

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.camera_embedding = None

    def add_cameras(self, cameras: Tensor, scale: float, generator: torch.Generator | None = None) -> None:
        """Give the encoder a :class:`CameraEmbedding`.

        Raises:
            InputError: The tower has no tokens.
        """
        raise InputError("model.camera_embedding needs a vision transformer, whose tokens can take it")

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """Normalised images (B, 3, H, W), and camera ids (B,) where there is a camera embedding -> their features."""
        raise NotImplementedError

    def compared(self, features: ImageFeatures, kind: FeatureKind) -> Tensor:
        """The feature that is compared by cosine at test time, L2-normalised.

        ``concat``: hidden and projected side by side (768 + 512 for ViT-B/16), before batch norm, as CLIP-ReID does;
        ``projected``: the projected one alone.
        """
        return F.normalize(features.projected if kind == "projected" else features.joined, dim=1)

    def _with_camera(self, tokens: Tensor, cameras: Tensor | None) -> Tensor:
        """Add the camera's vector to the class token of tokens (B, L, C)."""
        if self.camera_embedding is None or cameras is None:
            return tokens
        vectors = self.camera_embedding(cameras).to(tokens.dtype)
        return torch.cat([tokens[:, :1] + vectors[:, None], tokens[:, 1:]], dim=1)


class TransformerEncoder(ImageEncoder):
    """A vision transformer of open_clip with a class token."""

    def __init__(self, tower: VisionTransformer) -> None:
        super().__init__(tower)
        self.projected_dim = tower.proj.shape[1]
        self.hidden_dim = tower.proj.shape[0]
        self.earlier_dim = tower.transformer.width

    def add_cameras(self, cameras: Tensor, scale: float, generator: torch.Generator | None = None) -> None:
        """See :meth:`ImageEncoder.add_cameras`."""
        self.camera_embedding = CameraEmbedding(cameras, self.earlier_dim, scale, generator)

    def _embed(self, images: Tensor, cameras: Tensor | None) -> Tensor:
        """Tokens (B, 1 + patches, C) as the tower makes them, the camera's vector added before the first norm."""
        tower = self.tower
        patches = tower.conv1(images).flatten(2).transpose(1, 2)
        token = tower.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        tokens = torch.cat([token, patches], dim=1) + tower.positional_embedding.to(patches.dtype)
        embedded: Tensor = tower.ln_pre(tower.patch_dropout(self._with_camera(tokens, cameras)))
        return embedded

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """Class-token features of the last blocks and their projection; see :meth:`ImageEncoder.forward`."""
        tower = self.tower
        tokens = self._embed(images, cameras)
        blocks = tower.transformer.resblocks
        for block in blocks[:-1]:
            tokens = block(tokens)
        earlier = tokens[:, 0]
        hidden, _ = tower._pool(blocks[-1](tokens))
        return ImageFeatures(projected=hidden @ tower.proj, hidden=hidden, earlier=earlier)


class ResNetEncoder(ImageEncoder):
    """CLIP's modified ResNet with attention pooling."""

    def __init__(self, tower: ModifiedResNet) -> None:
        super().__init__(tower)
        self.projected_dim = tower.attnpool.c_proj.out_features
        self.hidden_dim = tower.attnpool.c_proj.in_features
        self.earlier_dim = self.hidden_dim // 2

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """Pooled features of the last two stages and the attention pool's; see :meth:`ImageEncoder.forward`."""
        tower = self.tower
        third = tower.layer3(tower.layer2(tower.layer1(tower.stem(images))))
        fourth = tower.layer4(third)
        return ImageFeatures(
            projected=tower.attnpool(fourth), hidden=fourth.mean(dim=(2, 3)), earlier=third.mean(dim=(2, 3))
        )


def image_encoders(task: nn.Module) -> list[ImageEncoder]:
    """The image encoders among the parts of a module: those that a training trains."""
    return [part for part in task.modules() if isinstance(part, ImageEncoder)]


def use_fast_layout(task: nn.Module) -> None:
    """Keep the weights of image encoders with several convolutions channels-last: a tenth faster for the conv stem, and
    twice as fast for EfficientNet.
    """
    for encoder in image_encoders(task):
        if sum(isinstance(module, nn.Conv2d) for module in encoder.modules()) > 1:
            encoder.to(memory_format=torch.channels_last)
