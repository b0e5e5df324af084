"""Reads the published weights of SCHP strictly as they are."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from pipeline.errors import InputError, one_line
from pipeline.parsing.schp.network import SchpNetwork
from pipeline.parsing.schp.variants import VARIANTS, Variant, where_from

PREFIX: Final = "module."
"""Of every published key: the network was saved inside a DataParallel."""

_HEADS: Final = ("context_encoding.", "edge.", "decoder.", "fushion.")
_CLASSES_KEY: Final = "fushion.3.weight"
_SHOWN: Final = 3


def find_weights(path: Path, variant: Variant) -> Path:
    """The weights' file: ``path`` itself, or the file of the published name if it is a folder.

    Raises:
        InputError: There is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"weights of the parser schp not found: {path}; {where_from(variant)}")
    file = path / variant.file_name
    if file.is_file():
        return file
    others = [other for other in VARIANTS.values() if (path / other.file_name).is_file()]
    hint = "".join(f"; there is {other.file_name}: set parse.settings.variant={other.name} for it" for other in others)
    raise InputError(f"no weights of the parser schp in the folder {path}: {where_from(variant)}{hint}")


def load_schp(path: Path, variant: Variant) -> SchpNetwork:
    """The network with the weights of a published file, in evaluation mode.

    The file is read without running any code that it may hold.

    Raises:
        InputError: The file is damaged, no weights of SCHP, or those of another variant.
    """
    tensors = _tensors(_read(path, variant), path, variant)
    _check_variant(tensors, path, variant)
    # built without values: every one comes from the file
    with torch.device("meta"):
        network = SchpNetwork(len(variant.scheme.labels))
    wanted = {_published_name(name): tensor.shape for name, tensor in network.state_dict().items()}
    _check_names(set(tensors), set(wanted), path, variant)
    wrong = [
        f"{name} is {tuple(tensor.shape)} and should be {tuple(wanted[name])}"
        for name, tensor in tensors.items()
        if tensor.shape != wanted[name]
    ]
    if wrong:
        raise InputError(f"weights {path} do not fit the network of SCHP: {_some(wrong)}; {where_from(variant)}")
    infinite = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if infinite:
        raise InputError(f"weights {path} hold values that are not finite ({_some(infinite)}); {where_from(variant)}")
    network.load_state_dict({_own_name(name): tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _read(path: Path, variant: Variant) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd files torch warns before it fails; the error below says it all
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader fails in any way on bytes that are no file of its own
        reason = one_line(error)
        if isinstance(error, pickle.UnpicklingError) and "Unsupported" in reason:
            reason = "it holds more than tensors"
        raise InputError(
            f"weights {path} cannot be read, the file is truncated, damaged or no PyTorch file "
            f"({reason[:120] or type(error).__name__}); {where_from(variant)}"
        ) from error


def _tensors(content: Any, path: Path, variant: Variant) -> dict[str, Tensor]:
    """The floating-point tensors of ``['state_dict']`` by their names without prefix."""
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise InputError(f"weights {path} have no entry 'state_dict'; {where_from(variant)}")
    tensors = content["state_dict"]
    odd = [
        str(name)
        for name, tensor in tensors.items()
        if not (isinstance(name, str) and name.startswith(PREFIX))
        or not (isinstance(tensor, Tensor) and tensor.is_floating_point())
    ]
    if odd:
        raise InputError(
            f"weights {path}: {_some(odd)} in 'state_dict': not a tensor of numbers under a name that starts with "
            f"{PREFIX!r}; {where_from(variant)}"
        )
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def _check_variant(tensors: Mapping[str, Tensor], path: Path, variant: Variant) -> None:
    if _CLASSES_KEY not in tensors or tensors[_CLASSES_KEY].ndim == 0:
        return  # the comparison of the names tells
    classes = len(tensors[_CLASSES_KEY])
    for other in VARIANTS.values():
        if other is not variant and len(other.scheme.labels) == classes:
            raise InputError(
                f"weights {path} have {classes} classes: they are those of the variant {other.name}, not of "
                f"{variant.name}; set parse.settings.variant={other.name}, or {where_from(variant)}"
            )


def _check_names(found: set[str], wanted: set[str], path: Path, variant: Variant) -> None:
    problems = []
    if wanted - found:
        problems.append(f"{len(wanted - found)} of {len(wanted)} tensors are missing ({_some(wanted - found)})")
    if found - wanted:
        problems.append(f"{len(found - wanted)} are not known ({_some(found - wanted)})")
    if problems:
        raise InputError(f"weights {path} are not of SCHP: {'; '.join(problems)}; {where_from(variant)}")


def _own_name(published: str) -> str:
    """Name in our network: the published one keeps the backbone's layers beside the heads."""
    return published if published.startswith(_HEADS) else f"backbone.{published}"


def _published_name(own: str) -> str:
    return own.removeprefix("backbone.")


def _some(names: set[str] | list[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")
