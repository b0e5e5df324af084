"""Names of tensors in other programs' forms of CLIP, mapped to open_clip's: ``visual.``, ``text.``, ``logit_scale``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor

OWN_IMAGE_PREFIX: Final = "image_encoder.tower."
HEADS: Final = ("classifier", "bottleneck", "prompt_learner", "text_encoder", "cv_embed")
"""First parts of names, as re-identification programs have them around an encoder."""

_PLAIN_TEXT = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
_IN_LAYERS: Final = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.out_proj.": "attn.out_proj.",
}
_TRANSFORMERS: Final = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # spelled so in that library
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm.weight": "text.ln_final.weight",
    "text_model.final_layer_norm.bias": "text.ln_final.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED: Final = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text.text_projection"}
_LAYER = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Arranged:
    """The tensors of a file under open_clip's names.

    Attributes:
        tensors: ``visual.*``, and where it is a whole CLIP ``text.*`` and ``logit_scale``.
        form: Whose form the file has; empty: open_clip's own or an unknown one.
        whole: There is a text encoder, or it is not known what the file is.
        left_out: Parts of the file that are no part of a CLIP, by the first part of their names.
    """

    tensors: dict[str, Tensor]
    form: str = ""
    whole: bool = True
    left_out: tuple[str, ...] = ()


def _of_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of Hugging Face's ``CLIPModel``; queries, keys and values are one matrix in open_clip."""
    arranged: dict[str, Tensor] = {}
    for name, value in tensors.items():
        layer = _LAYER.fullmatch(name)
        if name in _TRANSPOSED:
            arranged[_TRANSPOSED[name]] = value.T
        elif layer is None:
            arranged[_TRANSFORMERS.get(name, name)] = value
        else:
            tower = "visual" if layer[1] == "vision" else "text"
            rest = layer[3]
            part = re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", rest)
            if part is None:
                start = next((start for start in _IN_LAYERS if rest.startswith(start)), "")
                rest = _IN_LAYERS.get(start, start) + rest.removeprefix(start)
                arranged[f"{tower}.transformer.resblocks.{layer[2]}.{rest}"] = value
            elif part[1] == "q":
                three = [tensors.get(name.replace(".q_proj.", f".{one}_proj.")) for one in "qkv"]
                joined = torch.cat([one for one in three if one is not None])
                arranged[f"{tower}.transformer.resblocks.{layer[2]}.attn.in_proj_{part[2]}"] = joined
    return arranged


def _first_parts(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted({name.split(".")[0] for name in names}))


def _image_only(tensors: Mapping[str, Tensor], prefix: str, form: str) -> Arranged:
    """The image encoder under a prefix; the rest is left out."""
    taken = {name for name in tensors if name.startswith(prefix)}
    arranged = {f"visual.{name.removeprefix(prefix)}": tensors[name] for name in sorted(taken)}
    left_out = _first_parts(tensors.keys() - taken)
    return Arranged(arranged, form, whole=False, left_out=left_out)


def arrange(tensors: Mapping[str, Tensor]) -> Arranged:
    """Find out by the names whose form of CLIP the tensors have, and give them open_clip's names.

    Names that belong to no known form are left as they are, so that a message can show them.
    """
    names = tensors.keys()
    if any(name.startswith(("vision_model.", "text_model.")) for name in names):
        arranged = _of_transformers(tensors)
        whole = any(name.startswith("text.") for name in arranged)
        return Arranged(arranged, "transformers (Hugging Face)", whole)
    if any(name.startswith(OWN_IMAGE_PREFIX) for name in names):
        return _image_only(tensors, OWN_IMAGE_PREFIX, "an encoder checkpoint of ccaf-pipeline")
    if any(name.startswith("image_encoder.") for name in names):
        return _image_only(tensors, "image_encoder.", "a re-identification network such as CLIP-ReID's")
    if "conv1.weight" in names and ("class_embedding" in names or "attnpool.positional_embedding" in names):
        own = {name: value for name, value in tensors.items() if not name.startswith(HEADS)}
        heads = _first_parts(names - own.keys())
        return Arranged({f"visual.{name}": value for name, value in own.items()}, "an image encoder", False, heads)
    heads = _first_parts({name for name in names if name.startswith(HEADS)})
    own = {name: value for name, value in tensors.items() if not name.startswith(HEADS)}
    if any(name.startswith("visual.") for name in own) and not any(
        name.startswith(("text.", *_PLAIN_TEXT)) for name in own
    ):
        own.pop("logit_scale", None)
        return Arranged(own, "an image encoder", False, heads)
    if "positional_embedding" in own:
        own = dict(convert_to_custom_text_state_dict(own))
    own.pop("text.transformer.embeddings.position_ids", None)
    if "logit_scale" in own and own["logit_scale"].numel() == 1:
        own["logit_scale"] = own["logit_scale"].reshape(())
    return Arranged(own, left_out=heads)
