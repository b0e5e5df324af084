"""Small image towers of the families that open_clip takes from timm, built in milliseconds, and a small tokenizer."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from timm.models import register_model
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.fastvit import FastVit, RepConditionalPosEnc
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem, HybridEmbed
from torch import nn

NATIVE = 64
WORDS = ("a", "photo", "of", "person", "clothes", "black", "red", "hair", "with")


def _make(kind: Callable[..., nn.Module], own: dict[str, Any], given: dict[str, Any]) -> nn.Module:
    """A network with its own arguments and those of timm's factory that are a network's."""
    model: Any = kind(**own, **{name: value for name, value in given.items() if name in _OF_NETWORKS})
    model.default_cfg = {}
    return model


_OF_NETWORKS = ("num_classes", "global_pool", "drop_path_rate", "dynamic_img_size")
_TOKENS = {"img_size": NATIVE, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2}


@register_model
def small_siglip(pretrained: bool = False, **more: Any) -> nn.Module:
    """Without class token, pooled by attention: as vit_base_patch16_siglip_224."""
    return _make(VisionTransformer, {**_TOKENS, "class_token": False}, more)


@register_model
def small_pe_core(pretrained: bool = False, **more: Any) -> nn.Module:
    """Class token, absolute and rotary positions, pooled by attention: as vit_pe_core_base_patch16_224."""
    return _make(
        Eva,
        {
            **_TOKENS,
            "attn_type": "rope",
            "use_pre_transformer_norm": True,
            "use_rot_pos_emb": True,
            "ref_feat_shape": (4, 4),
            "rope_grid_offset": 1.0,
            "rope_grid_indexing": "xy",
            "attn_pool_num_heads": 2,
            "attn_pool_mlp_ratio": 4.0,
        },
        more,
    )


@register_model
def small_mobile_b(pretrained: bool = False, **more: Any) -> nn.Module:
    """Patches of a stack of convolutions: as vit_base_mci_224 of MobileCLIP-B."""
    stem = ConvStem(channels=(8, 8, 32), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0, act_layer=nn.GELU)
    layer = partial(HybridEmbed, backbone=stem, proj=False)
    return _make(VisionTransformer, {**_TOKENS, "patch_size": 1, "embed_layer": layer, "no_embed_class": True}, more)


@register_model
def small_mobile_s(pretrained: bool = False, **more: Any) -> nn.Module:
    """FastViT with attention in its last stage: as fastvit_mci1 of MobileCLIP-S1."""
    return _make(
        FastVit,
        {
            "layers": (1, 1, 1, 1),
            "embed_dims": (8, 16, 32, 64),
            "mlp_ratios": (2, 2, 2, 2),
            "se_downsamples": (False, False, True, True),
            "pos_embs": (None, None, None, partial(RepConditionalPosEnc, spatial_shape=(7, 7))),
            "token_mixers": ("repmixer", "repmixer", "repmixer", "attention"),
            "lkc_use_act": True,
        },
        more,
    )


@register_model
def small_convnext(pretrained: bool = False, **more: Any) -> nn.Module:
    """As convnext_base, blocks left out by chance included."""
    return _make(ConvNeXt, {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, more)


_CLIP_TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
_SIGLIP_TEXT = {
    "context_length": 16,
    "vocab_size": 32,
    "width": 16,
    "heads": 2,
    "layers": 2,
    "hf_tokenizer_name": "nobody/no-such-tokenizer",
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"},
}


def _vision(name: str, pool: str, proj: str | None, **more: Any) -> dict[str, Any]:
    return {
        "image_size": NATIVE,
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": pool,
        "timm_proj": proj,
        **more,
    }


def _config(width: int, vision: dict[str, Any], text: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"embed_dim": width, "vision_cfg": vision, "text_cfg": text, "custom_text": True, **more}


FAMILIES: dict[str, dict[str, Any]] = {
    "siglip": _config(32, _vision("small_siglip", "map", "none"), _SIGLIP_TEXT, init_logit_bias=-10),
    "pe-core": _config(24, _vision("small_pe_core", "map", None), _CLIP_TEXT),
    "mobile-b": _config(24, _vision("small_mobile_b", "token", None), _CLIP_TEXT),
    "mobile-s": _config(24, _vision("small_mobile_s", "avg", None), _CLIP_TEXT | {"no_causal_mask": True}),
    "efficientnet": _config(24, _vision("tf_efficientnet_lite0", "avg", "linear"), _CLIP_TEXT),
    "convnext": _config(24, _vision("small_convnext", "", "mlp", timm_drop_path=0.5), _CLIP_TEXT),
}
"""open_clip configurations by family."""

TRANSFORMERS = ("siglip", "pe-core", "mobile-b")


def write_config(folder: Path, family: str) -> Path:
    """The configuration of a family as a user's file; ``model.name`` takes it."""
    path = folder / f"small-{family}.json"
    path.write_text(json.dumps(FAMILIES[family]))
    return path


def write_tokenizer(folder: Path, padding: str = "<pad>") -> Path:
    """Files of a Hugging Face tokenizer of a few words, which marks the end of a text as SigLIP's do."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    names = ("<pad>", "</s>", "<unk>", *WORDS)
    tokenizer = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=padding, eos_token="</s>", unk_token="<unk>", padding_side="right"
    )
    folder.mkdir(exist_ok=True)
    fast.save_pretrained(folder)
    return folder
