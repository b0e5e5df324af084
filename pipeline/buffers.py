"""Large arrays that are used again once nobody holds them: fresh memory costs more than what is computed into it."""

import math
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Buffers:
    """Lends arrays.

    An array returns by itself when the last reference to it is gone, a tensor made with ``torch.from_numpy`` included
    (views and what autograd saved count). So a batch stays untouched as long as anybody has it. Thread-safe.

    Args:
        keep: Free arrays that are kept at the most.
    """

    def __init__(self, keep: int = 16) -> None:
        self._keep = keep
        # no arrays: views of a view of an array would hold on to that array and not to what is lent
        self._free: deque[bytearray] = deque(maxlen=keep)

    def __reduce__(self) -> tuple[type["Buffers"], tuple[int]]:
        return type(self), (self._keep,)

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of ``shape`` with any content."""
        memory = self._find(math.prod(shape) * np.dtype(dtype).itemsize)
        lent: NDArray[Any] = np.ndarray(shape, dtype, buffer=memory)
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return lent

    def _find(self, size: int) -> bytearray:
        # only single operations of the deque, which are atomic: an array may return at any moment, from any thread
        for _ in range(len(self._free)):
            try:
                memory = self._free.popleft()
            except IndexError:
                break
            if len(memory) == size:
                return memory
            self._free.append(memory)
        return bytearray(size)
