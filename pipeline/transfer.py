"""Batches to a GPU: arrays packed into one buffer, one copy on a stream of its own, and nobody waits for it.

A copy from ordinary memory makes the CPU wait for all that was asked of the GPU before. A copy from pinned memory does
not; and on a stream of its own it goes on while the GPU computes.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays = Mapping[str, NDArray[Any]]


class Sent:
    """Arrays on their way to a device.

    Args:
        tensors: The arrays by name; on a GPU they may not have arrived.
        whole: The memory that they lie in on a GPU.
        arrived: Happens when they have.
    """

    def __init__(self, tensors: Mapping[str, Tensor], whole: Tensor | None = None, arrived: Any = None) -> None:
        self._tensors = tensors
        self._whole = whole
        self._arrived = arrived

    def take(self) -> Mapping[str, Tensor]:
        """The arrays as tensors on the device; the GPU, not the CPU, waits until they have arrived."""
        if self._whole is not None:
            stream = torch.cuda.current_stream(self._whole.device)
            stream.wait_event(self._arrived)
            self._whole.record_stream(stream)  # the memory is not lent again before this stream has done with it
        return self._tensors


class Carrier:
    """Takes arrays to a device. Threads may share one.

    Args:
        device: Torch device string; on the CPU arrays stay where they are.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._stream: Any = None
        if self._device.type == "cuda":
            self._stream = _copy_stream(str(self._device))

    def send(self, arrays: Arrays) -> Sent:
        """Begin to copy arrays, in one copy; they may be changed as soon as this returns, unless they stay on the CPU.

        Args:
            arrays: Of any shapes and of types that torch knows, by name.
        """
        if self._stream is None:
            return Sent({name: torch.from_numpy(array) for name, array in arrays.items()})
        with torch.cuda.stream(self._stream):  # makes its GPU the current one: pinned memory belongs to that, too
            places, size = _places(arrays)
            host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            memory = host.numpy()
            for name, (start, stop) in places.items():
                array = arrays[name]
                np.copyto(memory[start:stop].view(array.dtype).reshape(array.shape), array)
            whole = host.to(self._device, non_blocking=True)
            arrived: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
            tensors = {}
            for name, (start, stop) in places.items():
                kind = torch.from_numpy(np.empty(0, arrays[name].dtype)).dtype
                tensors[name] = whole[start:stop].view(kind).view(arrays[name].shape)
        return Sent(tensors, whole, arrived)


@lru_cache
def _copy_stream(device: str) -> Any:
    """One for each GPU: memory that was lent on a stream is free for that stream alone."""
    return torch.cuda.Stream(torch.device(device))  # type: ignore[no-untyped-call]


def _places(arrays: Arrays) -> tuple[dict[str, tuple[int, int]], int]:
    """Start and end of each array in bytes, and the end of all; large numbers first, so that each lies as it must."""
    places: dict[str, tuple[int, int]] = {}
    end = 0
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].itemsize):
        places[name] = (end, end + array.nbytes)
        end += array.nbytes
    return places, end


class Returned:
    """A tensor on its way back to the CPU. From a GPU, nobody waits until it is asked for.

    Args:
        tensor: On any device.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._event: Any = None
        if tensor.device.type != "cuda":
            self._tensor = tensor.cpu()
            return
        with torch.cuda.device(tensor.device):  # pinned memory belongs to the current GPU
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(tensor.device))

    def take(self) -> Tensor:
        """The tensor on the CPU, as soon as it is there."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensor
