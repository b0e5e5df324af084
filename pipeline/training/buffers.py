"""Large arrays that are used again once nobody holds them: fresh memory costs more than what is computed into it."""

import math
import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray


class Buffers:
    """Lends float32 arrays.

    An array returns by itself when the last reference to it is gone, a tensor made with ``torch.from_numpy`` included
    (its views and what autograd saved count). So a batch stays untouched as long as anybody has it. Thread-safe.

    Args:
        keep: Free arrays that are kept at the most.
    """

    def __init__(self, keep: int = 16) -> None:
        self._keep = keep
        self._free: deque[NDArray[np.float32]] = deque(maxlen=keep)

    def __reduce__(self) -> tuple[type["Buffers"], tuple[int]]:
        return type(self), (self._keep,)

    def take(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """An array of ``shape`` with any content."""
        size = math.prod(shape)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(size, dtype=np.float32)
        if memory.size != size:
            memory = np.empty(size, dtype=np.float32)
        lent = memory.reshape(shape)
        if lent is memory:  # the one that is lent out must be another object than the one that comes back
            lent = memory.view()
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return lent
