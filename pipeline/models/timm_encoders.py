"""Image towers that open_clip takes from timm: transformers (EVA, PE-Core, SigLIP, ...) and networks of stages."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from open_clip.timm_model import TimmModel
from timm.layers import DropPath
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pipeline.models.image_encoder import CameraEmbedding, ImageEncoder, ImageFeatures

_POOLS: Final = ("token", "avg", "map")
_STAGED: Final = (EfficientNet, FastVit, ConvNeXt)


def _last_width(*parts: nn.Module) -> int | None:
    """Outputs of the last linear layer of modules; None: they have none."""
    sizes = [layer.out_features for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]
    return sizes[-1] if sizes else None


class TimmTransformerEncoder(ImageEncoder):
    """A vision transformer of timm inside open_clip, with or without class token, rotary positions, pooling attention.

    Without a class token the mean of the patches takes its place, and a camera's vector is added to every patch, as
    TransReID adds it to every token.
    """

    def __init__(self, tower: TimmModel) -> None:
        super().__init__(tower)
        trunk = tower.trunk
        self.prefix = int(trunk.num_prefix_tokens)
        self.hidden_dim = trunk.embed_dim
        self.earlier_dim = trunk.embed_dim
        self.projected_dim = _last_width(trunk.head, tower.head) or trunk.embed_dim

    def add_cameras(self, cameras: Tensor, scale: float, generator: torch.Generator | None = None) -> None:
        """See :meth:`ImageEncoder.add_cameras`."""
        self.camera_embedding = CameraEmbedding(cameras, self.earlier_dim, scale, generator)

    def _with_camera(self, tokens: Tensor, cameras: Tensor | None) -> Tensor:
        if self.prefix or self.camera_embedding is None or cameras is None:
            return super()._with_camera(tokens, cameras)
        vectors: Tensor = self.camera_embedding(cameras)
        return tokens + vectors.to(tokens.dtype)[:, None]

    def _summary(self, tokens: Tensor) -> Tensor:
        """The class token of tokens (B, L, C), or their mean where there is none."""
        return tokens[:, 0] if self.prefix else tokens.mean(dim=1)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """Features of the last blocks and their projection; see :meth:`ImageEncoder.forward`."""
        trunk = self.tower.trunk
        embedded = trunk._pos_embed(trunk.patch_embed(images))
        tokens, more = (embedded[0], {"rope": embedded[1]}) if isinstance(trunk, Eva) else (embedded, {})
        tokens = trunk.norm_pre(self._with_camera(tokens, cameras))
        for block in trunk.blocks[:-1]:
            tokens = block(tokens, **more)
        earlier = self._summary(tokens)
        tokens = trunk.norm(trunk.blocks[-1](tokens, **more))
        pooled = trunk.forward_head(tokens, pre_logits=True)
        hidden = pooled if trunk.attn_pool is None else self._summary(tokens)
        return ImageFeatures(projected=self.tower.head(trunk.head(pooled)), hidden=hidden, earlier=earlier)


class StagedEncoder(ImageEncoder):
    """A network of timm inside open_clip that halves the resolution stage by stage: EfficientNet, FastViT, ConvNeXt."""

    def __init__(self, tower: TimmModel) -> None:
        super().__init__(tower)
        trunk = tower.trunk
        before = trunk.feature_info[-2]
        self.earlier_stage = int(str(before["module"]).rpartition(".")[2])
        self.earlier_dim = int(before["num_chs"])
        self.hidden_dim = int(trunk.num_features)
        self.projected_dim = _last_width(trunk.get_classifier(), tower.head) or self.hidden_dim

    @property
    def last_maps(self) -> nn.Module:
        """The module whose outputs (B, C, rows, columns) are the last feature maps before the network pools them."""
        trunk = self.tower.trunk
        if isinstance(trunk, EfficientNet):
            found: nn.Module = trunk.bn2
        else:
            found = trunk.final_conv if isinstance(trunk, FastVit) else trunk.norm_pre
        return found

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps before the last halving and the last ones."""
        trunk = self.tower.trunk
        mobile = isinstance(trunk, EfficientNet)
        maps = trunk.bn1(trunk.conv_stem(images)) if mobile else trunk.stem(images)
        earlier = maps
        for number, stage in enumerate(trunk.blocks if mobile else trunk.stages):
            maps = stage(maps)
            earlier = maps if number == self.earlier_stage else earlier
        return earlier, self.last_maps(trunk.conv_head(maps) if mobile else maps)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """Pooled features of the last two resolutions and their projection; see :meth:`ImageEncoder.forward`."""
        earlier, last = self._maps(images)
        trunk = self.tower.trunk
        return ImageFeatures(
            projected=self.tower.head(trunk.forward_head(last)),
            hidden=trunk.forward_head(last, pre_logits=True),
            earlier=earlier.mean(dim=(2, 3)),
        )


def is_eva(tower: nn.Module) -> bool:
    """Whether the tower is an EVA transformer with a class token, whose positions are resized as CLIP-ReID does."""
    trunk = tower.trunk if isinstance(tower, TimmModel) else None
    return isinstance(trunk, Eva) and trunk.attn_pool is None


def is_timm_transformer(tower: nn.Module) -> bool:
    """Whether the tower is a plain transformer of timm whose positions and tokens are known here."""
    trunk = tower.trunk if isinstance(tower, TimmModel) else None
    if not isinstance(trunk, Eva | VisionTransformer) or trunk.dynamic_img_size:
        return False
    pooled = trunk.global_pool in _POOLS and trunk.num_prefix_tokens == int(trunk.cls_token is not None)
    rope = getattr(trunk, "rope", None)
    rotary = rope is None or hasattr(rope, "update_feat_shape")
    return pooled and rotary and not getattr(trunk, "rope_mixed", False)


def is_staged(tower: nn.Module) -> bool:
    """Whether the tower is a network of stages whose inner features are known here."""
    return isinstance(tower, TimmModel) and isinstance(tower.trunk, _STAGED) and not hasattr(tower.head, "pool")


def _without_random_depth(modules: Sequence[Any]) -> None:
    """Blocks are never left out by chance: what a training computes follows from its seed and step alone."""
    for module in modules:
        if isinstance(module, DropPath):
            module.drop_prob = 0.0


def wrap_timm_tower(tower: nn.Module) -> ImageEncoder | None:
    """The encoder for an open_clip tower of timm; None where its inner features are not known here."""
    if is_timm_transformer(tower):
        encoder: ImageEncoder = TimmTransformerEncoder(tower)
    elif is_staged(tower):
        encoder = StagedEncoder(tower)
    else:
        return None
    _without_random_depth(list(tower.modules()))
    return encoder
