"""ImageNet weights to start the training of the embedded parser from, loaded by key."""

import re
from pathlib import Path
from typing import Final

from pipeline.errors import InputError
from pipeline.models.imagenet import read_imagenet_weights
from pipeline.parsing.lite.encoder import Encoder

# ours by theirs; batch norms are numbered by their place in the block
_NAMES: Final = (
    (r"^_conv_stem\.", "stem.convolution."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.convolution."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.convolution."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.convolution."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
)
_CLASSIFIER: Final = ("_conv_head.", "_bn1.", "_fc.")


def load_imagenet_weights(encoder: Encoder, path: Path) -> None:
    """Load a published EfficientNet-Lite checkpoint into an encoder; its classifier and stages left out are skipped.

    Raises:
        InputError: The file cannot be read, or lacks a weight of the encoder or has it in another shape.
    """
    published = read_imagenet_weights(path)
    renamed = {_our_name(name): value for name, value in published.items() if not name.startswith(_CLASSIFIER)}
    wanted = encoder.state_dict()
    missing = sorted(wanted.keys() - renamed.keys())
    wrong = sorted(name for name in wanted.keys() & renamed.keys() if wanted[name].shape != renamed[name].shape)
    if missing or wrong:
        raise InputError(f"ImageNet weights {path} do not fit the encoder; missing: {missing}; other shape: {wrong}")
    encoder.load_state_dict({name: renamed[name] for name in wanted})


def _our_name(name: str) -> str:
    for pattern, replacement in _NAMES:
        name, count = re.subn(pattern, replacement, name)
        if count:
            return name
    return name
