"""E_v: an open_clip image tower that also gives the features before its projection."""

from typing import Any, NamedTuple

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.eva import Eva
from torch import Tensor, nn

from pipeline.errors import InputError

CAMERA_STD = 0.02


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

    @property
    def joined(self) -> Tensor:
        """Hidden and projected side by side, (B, C + D): what CLIP-ReID compares at test time."""
        return torch.cat([self.hidden, self.projected], dim=1)


class CameraEmbedding(nn.Module):
    """Side information of TransReID (He et al. 2021): one learned vector a camera, added to the class token.

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
            InputError: The tower has no class token.
        """
        raise InputError("model.camera_embedding needs a vision transformer with a class token")

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """Normalised images (B, 3, H, W), and camera ids (B,) where there is a camera embedding -> their features."""
        raise NotImplementedError

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


class EvaEncoder(ImageEncoder):
    """An EVA transformer of timm inside open_clip (EVA02-L-14): class token, absolute and rotary positions."""

    def __init__(self, tower: TimmModel) -> None:
        super().__init__(tower)
        trunk = tower.trunk
        self.hidden_dim = trunk.embed_dim
        self.earlier_dim = trunk.embed_dim
        layers = [trunk.head, *tower.head.children()]
        sizes = [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]
        self.projected_dim = sizes[-1] if sizes else trunk.embed_dim

    def add_cameras(self, cameras: Tensor, scale: float, generator: torch.Generator | None = None) -> None:
        """See :meth:`ImageEncoder.add_cameras`."""
        self.camera_embedding = CameraEmbedding(cameras, self.earlier_dim, scale, generator)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """Class-token features of the last blocks and their projection; see :meth:`ImageEncoder.forward`."""
        trunk = self.tower.trunk
        tokens, rotary = trunk._pos_embed(trunk.patch_embed(images))
        tokens = trunk.norm_pre(self._with_camera(tokens, cameras))
        for block in trunk.blocks[:-1]:
            tokens = block(tokens, rope=rotary)
        earlier = tokens[:, 0]
        tokens = trunk.norm(trunk.blocks[-1](tokens, rope=rotary))
        hidden = trunk.forward_head(tokens, pre_logits=True)
        projected = self.tower.head(trunk.head(hidden))
        return ImageFeatures(projected=projected, hidden=hidden, earlier=earlier)


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


def is_eva(tower: nn.Module) -> bool:
    """Whether the tower is an EVA transformer of timm whose positions and class token are known here."""
    if not isinstance(tower, TimmModel) or not isinstance(tower.trunk, Eva):
        return False
    trunk = tower.trunk
    plain = trunk.global_pool == "token" and trunk.num_prefix_tokens == 1 and trunk.attn_pool is None
    rotary = trunk.rope is None or hasattr(trunk.rope, "update_feat_shape")
    return plain and rotary and not trunk.dynamic_img_size and not getattr(trunk, "rope_mixed", False)


def wrap_image_tower(tower: nn.Module) -> ImageEncoder:
    """Choose the encoder for an open_clip image tower.

    Raises:
        InputError: The tower is of a kind whose inner features are not known here.
    """
    if isinstance(tower, VisionTransformer) and tower.pool_type == "tok" and tower.attn_pool is None:
        return TransformerEncoder(tower)
    if isinstance(tower, ModifiedResNet):
        return ResNetEncoder(tower)
    if is_eva(tower):
        return EvaEncoder(tower)
    raise InputError(
        f"image tower {type(tower).__name__} is not supported: choose an open_clip vision transformer with a class "
        f"token (such as ViT-B-16-quickgelu), an EVA02 model, or a CLIP ResNet (such as RN50-quickgelu)"
    )
