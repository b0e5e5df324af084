"""Reading tensors out of the files in which weights are passed around; no code of a file is ever run."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor

from pipeline.errors import InputError
from pipeline.models.torchscript import UnsafeObjectError, is_torchscript, read_torchscript

WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "network", "net", "module")
"""Entries of training programs' checkpoints that hold the weights."""

PREFIXES: Final = ("module.", "_orig_mod.", "model.", "clip_model.", "clip.")
"""What wrappers around a network (of several GPUs, compiled, of a training program) put before all names."""

_DEEPEST = 4
_SHOWN = 6
_OPENAI_EXTRAS = frozenset({"input_resolution", "context_length", "vocab_size"})
_POINTLESS = _OPENAI_EXTRAS | {"attn_mask", "position_ids"}
"""Last parts of names of tensors that CLIPs compute, and never learn."""

_ALONE = "save the tensors alone, as `torch.save(model.state_dict(), FILE)` does"


class _Ignored:
    """Stands for NumPy's numbers in checkpoints, such as a best score: they are no weights, and are not read."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


_HARMLESS: Final[list[Any]] = [
    (_Ignored, name)
    for name in (
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.dtype",
        "numpy.ndarray",
        "argparse.Namespace",
    )
]


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file.

    Attributes:
        path: The file.
        tensors: By name, on the CPU, what was around them taken off.
        inside: Entries and prefixes that were taken off, outermost first.
        metadata: Strings of a safetensors file's header.
        openai: It is a TorchScript archive as OpenAI publishes them.
    """

    path: Path
    tensors: dict[str, Tensor]
    inside: tuple[str, ...] = ()
    metadata: Mapping[str, str] | None = None
    openai: bool = False


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _read_pickle(path: Path) -> Any:
    """What ``torch.save`` wrote, by PyTorch's own reader of tensors and plain values.

    Raises:
        UnsafeObjectError: It holds something else.
    """
    with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            asked = re.search(r"GLOBAL ([\w.]+)", str(error)) or re.search(r"but got <class '([\w.]+)'", str(error))
            if asked:
                raise UnsafeObjectError(asked[1]) from error
            raise


def _what_it_is(start: bytes) -> str | None:
    """A file that cannot hold weights, by its first bytes."""
    if not start:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, in the place of the weights: fetch them with `git lfs pull`"
    if start.lstrip()[:1] == b"<":
        return "is a web page, in the place of the weights: download the file itself"
    known = start.startswith((b"PK", b"\x80")) or start[8:9] == b"{"
    return None if known else "is neither a file of PyTorch nor one of safetensors"


def _read(path: Path) -> tuple[Any, dict[str, str], bool]:
    """Content, metadata, and whether it is a TorchScript archive."""
    with path.open("rb") as stream:
        start = stream.read(64)
    wrong = _what_it_is(start)
    if wrong:
        raise InputError(f"weights {path}: the file {wrong}")
    if start[8:9] == b"{" and not start.startswith(b"PK"):
        return *_read_safetensors(path), False
    if is_torchscript(path):
        return read_torchscript(path), {}, True
    return _read_pickle(path), {}, False


def _wrapper(content: Mapping[Any, Any]) -> str | None:
    """The entry that holds the weights: one of the usual names, or the only one with tensors in it."""
    usual = next((name for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
    if usual is not None or any(isinstance(value, Tensor) for value in content.values()):
        return usual
    others = [
        name
        for name, value in content.items()
        if isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values())
    ]
    return str(others[0]) if len(others) == 1 else None


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    inside: list[str] = []
    while isinstance(content, Mapping) and len(inside) < _DEEPEST and (name := _wrapper(content)) in content:
        content = content[name]
        inside.append(str(name))
    found = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value for name, value in found if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        entries = _some([str(name) for name, _ in found])
        raise InputError(
            f"weights {path}: the file holds no tensors" + (f"; its entries are {entries}" if entries else "")
        )
    while prefix := next((one for one in PREFIXES if all(name.startswith(one) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        inside.append(prefix)
    return tensors, tuple(inside)


def _check_plain(tensors: Mapping[str, Tensor], path: Path) -> None:
    odd = [
        name
        for name, value in tensors.items()
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu"
    ]
    if odd:
        raise InputError(f"weights {path}: {_some(odd)} are quantised, sparse or without values; save plain tensors")


def read_weight_file(path: Path) -> WeightFile:
    """Read the tensors of a file, whatever its ending says, and take off what is around them.

    Args:
        path: A safetensors file, a checkpoint that ``torch.save`` wrote, or a TorchScript archive.

    Raises:
        InputError: It is damaged, holds no tensors, or holds objects whose reading could run code.
    """
    try:
        content, metadata, scripted = _read(path)
    except InputError:
        raise
    except UnsafeObjectError as error:
        raise InputError(
            f"weights {path}: the file holds an object of {error.name}, which could run code, and is not read: {_ALONE}"
        ) from error
    except OSError as error:
        raise InputError(f"weights {path}: the file cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch, safetensors, zipfile and pickle have their own, none of them for a user
        raise InputError(f"weights {path}: the file is damaged or cut short: download or copy it again") from error
    tensors, inside = _unwrap(content, path)
    openai = scripted and tensors.keys() >= _OPENAI_EXTRAS
    learned = {name: value for name, value in tensors.items() if name.rpartition(".")[2] not in _POINTLESS}
    _check_plain(learned, path)
    return WeightFile(path, learned, inside, metadata, openai)
