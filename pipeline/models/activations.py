"""Whether weights were made with the activation that a model has: QuickGELU and GELU differ in no name and no shape."""

import json
from pathlib import Path
from typing import Any, Final

import open_clip
from open_clip.pretrained import get_pretrained_cfg

from pipeline.errors import InputError
from pipeline.models.weight_files import WeightFile

_SUFFIX: Final = "-quickgelu"
_LARGEST_CONFIG: Final = 2**20


def _beside(path: Path, name: str) -> dict[str, Any]:
    """A configuration that lies beside the weights; empty where there is none that can be read."""
    config = path.with_name(name)
    try:
        value = json.loads(config.read_text()) if config.stat().st_size <= _LARGEST_CONFIG else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _by_hash(sha256: str) -> tuple[bool, str] | None:
    """The addresses of open_clip's tags hold the hashes of many files: whole ones, or their first eight digits."""
    for name, tag in open_clip.list_pretrained():
        config = get_pretrained_cfg(name, tag)
        url = config.get("url", "")
        if sha256 in url or url.endswith(f"-{sha256[:8]}.pt"):
            return bool(config.get("quick_gelu", False)), f"the file is {tag} of {name}"
    return None


def _by_neighbours(path: Path, of_transformers: bool) -> tuple[bool, str] | None:
    beside = _beside(path, "config.json")
    if beside.get("kind") == "clip" and isinstance(beside.get("model"), dict):
        config = open_clip.get_model_config(str(beside["model"].get("name", "")))
        if config is not None:
            return bool(config.get("quick_gelu", False)), "as config.json beside it says"
    vision = beside.get("vision_config")
    if of_transformers and isinstance(vision, dict):
        return vision.get("hidden_act", "quick_gelu") == "quick_gelu", "as config.json beside it says"
    model = _beside(path, "open_clip_config.json").get("model_cfg")
    if isinstance(model, dict):
        return bool(model.get("quick_gelu", False)), "as open_clip_config.json beside it says"
    return None


def _advice(name: str, quick: bool) -> str:
    other = f"{name}{_SUFFIX}" if quick else name.removesuffix(_SUFFIX)
    if other != name and other in open_clip.list_models():
        return f"use {other}"
    return f"set quick_gelu to {str(quick).lower()} in the model's configuration"


def check_activation(name: str, quick: bool, what: str) -> None:
    """Refuse weights of another activation than that of a model.

    Args:
        name: Of the model, registered in open_clip.
        quick: Whether the weights were made with QuickGELU.
        what: The weights, for the message.

    Raises:
        InputError: The model has the other one.
    """
    config = open_clip.get_model_config(name)
    if "timm_model_name" in config["vision_cfg"] or quick == bool(config.get("quick_gelu", False)):
        return
    raise InputError(f"{what} were made with another activation than {name}: {_advice(name, quick)}")


def check_file_activation(name: str, file: WeightFile, sha256: str, of_transformers: bool) -> None:
    """The same for a file, as far as its form, its hash or what lies beside it tells how the weights were made.

    Raises:
        InputError: See :func:`check_activation`.
    """
    if file.openai:
        known: tuple[bool, str] | None = True, "it is an archive as OpenAI publishes them"
    else:
        known = _by_neighbours(file.path, of_transformers) or _by_hash(sha256)
    if known is not None:
        check_activation(name, known[0], f"the weights {file.path} ({known[1]})")
