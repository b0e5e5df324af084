"""Faults of the device that computes: which errors they are, and what one line says about them.

A fault of a device (CUDA, cuDNN, cuBLAS, NCCL, out of memory) says nothing about the image or the step that met it. The
functions here know such an error by its type's name and by the library's own words, along the chain of causes, so that
an error which another one wraps is found too. PyTorch is imported only where a device's memory is asked for.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError, WorkError

GIBIBYTE = 1024**3

_MEMORY_TYPES = frozenset({"OutOfMemoryError"})
_FAULT_TYPES = frozenset({"AcceleratorError", "DistBackendError", *_MEMORY_TYPES})
_MACHINE_WORDS = ("can't allocate memory", "not enough memory: you tried to allocate")  # of PyTorch's CPU allocator
_MEMORY_WORDS = ("out of memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed", *_MACHINE_WORDS)
_FAULT_WORDS = (
    "cuda error",
    "cuda driver error",
    "cuda failure",
    "cudnn error",
    "cudnn_status",
    "valid cudnn algorithm",
    "unable to find an engine to execute",
    "cublas_status",
    "cusolver error",
    "cufft error",
    "nccl error",
    "device-side assert",
    "no cuda gpus are available",
    "found no nvidia driver",
)
_ASKED = re.compile(r"tried to allocate ([\d.]+ ?[KMGT]i?B|\d+ bytes)", re.IGNORECASE)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it came from, hidden ones too, and what Ray carries in ``cause``; each once."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop(0)
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__, getattr(found, "cause", None)]


def _is_named(error: BaseException, names: frozenset[str]) -> bool:
    """Whether one of PyTorch's own types is among the error's; Ray has an ``OutOfMemoryError`` of another meaning."""
    return any(kind.__name__ in names and kind.__module__.split(".")[0] == "torch" for kind in type(error).__mro__)


def _says(error: BaseException, words: Sequence[str]) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def _lacks_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or _is_named(error, _MEMORY_TYPES) or _says(error, _MEMORY_WORDS)


def _is_fault(error: BaseException) -> bool:
    return _lacks_memory(error) or _is_named(error, _FAULT_TYPES) or _says(error, _FAULT_WORDS)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's or the machine's memory did not suffice, for the error or for one that it came from."""
    return any(_lacks_memory(found) for found in _chain(error))


def is_device_fault(error: BaseException) -> bool:
    """Whether the device failed and not the work that it was given; out of memory is such a fault too.

    True for PyTorch's ``OutOfMemoryError``, ``AcceleratorError`` and ``DistBackendError`` and for a ``RuntimeError``
    with the words of CUDA, cuDNN, cuBLAS or NCCL, whether it is the error itself or one that it came from. An error
    in a program, such as operands of two devices, is none.
    """
    return any(_is_fault(found) for found in _chain(error))


def describe_fault(error: BaseException) -> str:
    """The first line of the device's own error, found along the chain; of the error itself if there is none."""
    cause = next((found for found in _chain(error) if _is_fault(found)), error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__


def memory_asked_for(error: BaseException) -> str | None:
    """What the failed allocation wanted, such as ``2.00 GiB``, if the error says so."""
    for found in _chain(error):
        match = _ASKED.search(str(found))
        if match is not None:
            amount = match[1]
            return _gibibytes(int(amount.split()[0])) if amount.endswith("bytes") else amount
    return None


def _is_machines(error: BaseException) -> bool:
    """Whether it was the machine's own memory that did not suffice, although the work may be on another device."""
    return any(isinstance(found, MemoryError) or _says(found, _MACHINE_WORDS) for found in _chain(error))


def _gibibytes(count: int) -> str:
    return f"{count / GIBIBYTE:.2f} GiB"


def _machine_memory() -> str:
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        lines = []
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    free = "" if available is None else f"{_gibibytes(available)} free of "
    return f"{free}{_gibibytes(total)} of the machine's memory"


def describe_memory(device: str) -> str:
    """Free and total memory of a CUDA device, else of the machine, as a part of a sentence.

    Never raises: after some faults a device answers nothing any more.
    """
    if not device.startswith("cuda"):
        return _machine_memory()
    import torch

    try:
        free, total = torch.cuda.mem_get_info(torch.device(device))
    except (RuntimeError, AssertionError, ValueError):
        return f"{device}, which does not say how much memory it has"
    return f"{_gibibytes(free)} free of {_gibibytes(total)} on {device}"


def out_of_memory_line(error: BaseException, tried: str, device: str, lower: Sequence[str]) -> str:
    """One line about work that did not fit.

    Args:
        error: What was caught.
        tried: The work with the settings that decide its size.
        device: That it ran on.
        lower: What needs less, each with its parameter.
    """
    asked = memory_asked_for(error)
    wanted = "" if asked is None else f"{asked} more were asked for, "
    memory = describe_memory("cpu" if _is_machines(error) else device)
    advice = f"; less is needed with {', or '.join(lower)}" if lower else ""
    return f"out of memory: {tried}: {wanted}{memory}{advice}"


@contextmanager
def fitting(tried: str, device: str, lower: Sequence[str]) -> Iterator[None]:
    """Work that may not fit into the device's memory, or into the machine's.

    Args:
        tried: The work, with the settings that decide its size.
        device: That it runs on.
        lower: Settings that need less.

    Raises:
        WorkError: It did not fit; one line says what was tried, what there is, and what needs less.
    """
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise WorkError(out_of_memory_line(error, tried, device, lower)) from error


def half(name: str, value: int, least: int = 1) -> list[str]:
    """A setting at half its value, for :func:`fitting` to advise; nothing if that is less than is allowed."""
    return [f"{name}={value // 2}"] if value // 2 >= least else []
