"""Small weights in the forms in which other programs write them, made by these programs where they are here."""

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

SIZE = (64, 32)
CONFIG = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": list(SIZE), "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def plain_clip(config: Path, seed: int = 0) -> Any:
    """open_clip's own model of a configuration in the layout of OpenAI's names, with random weights."""
    open_clip.add_model_config(config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return open_clip.create_model(config.stem, pretrained=None).eval()


def openai_archive(model: Any, path: Path, extras: bool = True) -> None:
    """Trace a model and save it as OpenAI did: half precision, with three numbers beside the weights."""
    images, texts = torch.zeros(1, 3, *SIZE), torch.zeros(1, 24, dtype=torch.long)
    if extras:
        for name, value in (("input_resolution", 64), ("context_length", 24), ("vocab_size", 49408)):
            model.__dict__.pop(name, None)
            model.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():  # newer PyTorch advises against the form in which these weights are published
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, (images, texts), check_trace=False)
        torch.jit.save(traced.half(), path)


def rewritten(source: Path, target: Path, change: Mapping[str, Callable[[bytes], bytes]], packed: bool = False) -> None:
    """Copy an archive; some files, by the ends of their names, are changed; ``packed``: compressed."""
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", kind) as new:
        for name in old.namelist():
            data = old.read(name)
            for end, made in change.items():
                data = made(data) if name.endswith(end) else data
            new.writestr(name, data)


class Touch:
    """Pickled, it creates a file when it is loaded by a reader that is not careful."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.made = (call, arguments)

    def __reduce__(self) -> Any:
        return self.made


def pickled(value: Any) -> bytes:
    """A pickle of the protocol that PyTorch uses."""
    stream = io.BytesIO()
    pickle.Pickler(stream, 2).dump(value)
    return stream.getvalue()


def transformers_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain CLIP names -> the names of Hugging Face's CLIPModel, written from that library's module tree."""
    made: dict[str, Tensor] = {}
    for name, value in state.items():
        side, inner = ("vision", name.removeprefix("visual.")) if name.startswith("visual.") else ("text", name)
        if inner.startswith("transformer.resblocks."):
            _, _, number, rest = inner.split(".", 3)
            layer = f"{side}_model.encoder.layers.{number}"
            if "in_proj" in rest:
                kind = rest.rpartition("_")[2]
                for part, block in zip("qkv", value.chunk(3), strict=True):
                    made[f"{layer}.self_attn.{part}_proj.{kind}"] = block.clone()
                continue
            for ours, theirs in (
                ("attn.", "self_attn."),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("c_fc", "fc1"),
                ("c_proj", "fc2"),
            ):
                rest = rest.replace(ours, theirs)
            made[f"{layer}.{rest}"] = value
            continue
        renamed = {
            "visual.class_embedding": "vision_model.embeddings.class_embedding",
            "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
            "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
            "visual.proj": "visual_projection.weight",
            "positional_embedding": "text_model.embeddings.position_embedding.weight",
            "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
            "text_projection": "text_projection.weight",
        }.get(name)
        if renamed is None:
            renamed = name.replace("visual.ln_pre", "vision_model.pre_layrnorm")
            renamed = renamed.replace("visual.ln_post", "vision_model.post_layernorm")
            renamed = renamed.replace("ln_final", "text_model.final_layer_norm")
        made[renamed] = value.T.contiguous() if renamed.endswith("_projection.weight") else value.contiguous()
    return made
