"""Tensors of a TorchScript archive, such as those in which OpenAI publishes CLIP, read without running its code.

An archive is a zip of a pickle, of one file a tensor's storage, and of source code. ``torch.jit.load`` compiles that
code. Here only the pickle and the storages are read, and the pickle may build nothing but tensors and plain values: a
module of the archive becomes the dictionary of its attributes, and anything else ends the reading.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

LARGEST_PICKLE: Final = 64 * 2**20
"""Bytes of the pickle, which holds names and shapes only: that of ViT-L/14 has less than one million."""

DEEPEST: Final = 64
MOST_VALUES: Final = 200_000

_STORAGES: Final = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS: Final = {"build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag"}


class UnsafeObjectError(ValueError):
    """A pickle asks for something that could run code.

    Attributes:
        name: What it asks for, with its module.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"an object of {name}")
        self.name = name


class _Module:
    """Stands for a module of the archive: its attributes, and nothing that it can do."""

    __slots__ = ("attributes",)
    attributes: dict[str, Any]

    def __new__(cls, *_: Any) -> "_Module":
        made = object.__new__(cls)
        made.attributes = {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _Value:
    """Stands for functions that mark the type of a list: the list itself."""

    __slots__ = ()

    def __call__(self, value: Any, *_: Any) -> Any:
        return value


class _Rebuild:
    """Stands for PyTorch's function that makes a tensor of a storage; checked, as the numbers are the file's."""

    __slots__ = ()

    def __call__(self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
        numbers = [offset, *size, *stride]
        if not isinstance(storage, Tensor) or len(size) != len(stride) or any(type(one) is not int for one in numbers):
            raise ValueError("a tensor is not described by whole numbers")
        count = 1
        for side in size:
            count *= side
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) if count else offset
        if min(numbers) < 0 or count > len(storage) or (count and last >= len(storage)):
            raise ValueError("a tensor is larger than what is stored of it")
        return storage.as_strided(size, stride, offset)


class _Unpickler(pickle.Unpickler):
    """Builds tensors, modules without code, and plain values."""

    def __init__(self, data: bytes, archive: "_Archive") -> None:
        super().__init__(io.BytesIO(data))
        self._archive = archive
        self._rebuild = _Rebuild()
        self._value = _Value()

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module == "torch.jit._pickle" and name in _LISTS) or (module, name) == ("torch", "device"):
            return self._value
        raise UnsafeObjectError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ValueError("a storage is not described as PyTorch does")
        return self._archive.storage(str(key), dtype, int(count))


class _Archive:
    """The files of an archive; together no more bytes are read than it has."""

    def __init__(self, file: zipfile.ZipFile, size: int) -> None:
        self._file = file
        self._left = size
        self._stored: dict[str, Tensor] = {}
        roots = [name[: -len("data.pkl")] for name in file.namelist() if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("it has no data.pkl, or several")
        self._root = roots[0]
        if f"{self._root}byteorder" in file.namelist() and self.read("byteorder", 16) != b"little":
            raise ValueError("its numbers are stored in big-endian order")

    def read(self, name: str, limit: int) -> bytes:
        """One file, which must be stored as it is: what unpacks to more than it takes could fill the memory."""
        entry = self._file.getinfo(f"{self._root}{name}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > min(limit, self._left):
            raise ValueError(f"{name} is compressed or too large")
        self._left -= entry.file_size
        return self._file.read(entry)

    def storage(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        """The numbers of a storage, (count,)."""
        if key not in self._stored:
            data = bytearray(self.read(f"data/{key}", self._left))
            self._stored[key] = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
        size = count * dtype.itemsize
        if not 0 <= size <= len(self._stored[key]):
            raise ValueError(f"data/{key} is shorter than the tensors in it")
        return self._stored[key][:size].view(dtype)


class _Collector:
    """Names tensors as ``state_dict`` does, by the attributes that lead to them."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._values = 0

    def collect(self, module: _Module, prefix: str = "", depth: int = 0) -> None:
        """Add the tensors of a module and of the modules in it."""
        for name, value in module.attributes.items():
            self._values += 1
            if depth > DEEPEST or self._values > MOST_VALUES:
                raise ValueError("its modules are nested too deeply")
            if isinstance(value, Tensor):
                self.tensors[f"{prefix}{name}"] = value
            elif isinstance(value, _Module):
                self.collect(value, f"{prefix}{name}.", depth + 1)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a zip with the entries of a TorchScript archive."""
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.endswith("/constants.pkl") for name in file.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """All tensors of a TorchScript archive under the names of its modules' attributes.

    Args:
        path: The archive.

    Returns:
        Parameters, buffers and other tensors, on the CPU, in the precision of the file.

    Raises:
        UnsafeObjectError: It holds an object that could run code. None was run.
        Exception: It is damaged, or not built like PyTorch's.
    """
    with zipfile.ZipFile(path) as file:
        archive = _Archive(file, path.stat().st_size)
        root = _Unpickler(archive.read("data.pkl", LARGEST_PICKLE), archive).load()
    if not isinstance(root, _Module):
        raise ValueError("it holds no module")
    found = _Collector()
    found.collect(root)
    return found.tensors
