"""The state of the pretended GPU: its log, its random numbers, and copies that nobody has waited for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import _disable_current_modes

from pretended.log import Log
from pretended.rules import where_am_i


class Random:
    """The GPU's own generator: its numbers are the CPU's for the same seed, its state is another."""

    def __init__(self) -> None:
        self.state = torch.Generator().manual_seed(0).get_state()

    def seed(self, seed: int) -> None:
        """As ``torch.cuda.manual_seed``."""
        self.state = torch.Generator().manual_seed(seed).get_state()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Operators inside draw from this generator."""
        with _disable_current_modes():
            before = torch.get_rng_state()
            torch.set_rng_state(self.state)
        try:
            yield
        finally:
            with _disable_current_modes():
                self.state = torch.get_rng_state()
                torch.set_rng_state(before)


class Gpu:
    """One pretended GPU. Everything is computed at once; but copies that may be late are treated as if they were."""

    _current: ClassVar["Gpu | None"] = None

    def __init__(self) -> None:
        self.log = Log()
        self.random = Random()
        self.active = False
        self._pinned: dict[int, StorageWeakRef] = {}
        self._sent: list[tuple[Tensor, Tensor, str]] = []
        self._arriving: list[tuple[Tensor, Tensor]] = []

    @classmethod
    def current(cls) -> "Gpu":
        """The one that is switched on.

        Raises:
            RuntimeError: There is none: a tensor outlived the GPU it was on.
        """
        if cls._current is None:
            raise RuntimeError("a tensor of the pretended GPU was used after it was switched off")
        return cls._current

    @contextmanager
    def switched_on(self) -> Iterator[None]:
        """There is a GPU inside."""
        if Gpu._current is not None:
            raise RuntimeError("there is a pretended GPU already")
        Gpu._current, self.active = self, True
        try:
            yield
            self.settle()
        finally:
            Gpu._current, self.active = None, False

    def pin(self, tensor: Tensor, name: str, copy: bool = True) -> Tensor | bool:
        """``pin_memory()`` and ``is_pinned()``; pinned memory is the CPU's ordinary memory, remembered."""
        if name == "is_pinned":
            return self.is_pinned(tensor)
        if self.is_pinned(tensor):
            return tensor
        with _disable_current_modes():
            made = tensor.clone() if copy else tensor
        self._pinned[made.untyped_storage()._cdata] = StorageWeakRef(made.untyped_storage())
        return made

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether a CPU tensor's memory is pinned."""
        known = self._pinned.get(tensor.untyped_storage()._cdata)
        return known is not None and not known.expired()

    def sent(self, source: Tensor) -> None:
        """A copy to the GPU has begun that may read ``source`` until somebody waits; other memory is read at once."""
        if self.is_pinned(source):
            with _disable_current_modes():
                self._sent.append((source.detach(), source.detach().clone(), where_am_i()))

    def arriving(self, target: Tensor) -> None:
        """A copy from the GPU has begun: until somebody waits there is rubbish in ``target``."""
        with _disable_current_modes():
            self._arriving.append((target.detach(), target.detach().clone()))
            target.detach().view(torch.uint8).fill_(0xAB) if target.dim() else target.detach().zero_()

    def settle(self) -> None:
        """Somebody has waited for the GPU.

        Raises:
            RuntimeError: Memory was written while a copy might still be reading it.
        """
        sent, self._sent = self._sent, []
        arriving, self._arriving = self._arriving, []
        with _disable_current_modes():
            for target, value in arriving:
                with torch.inference_mode(target.is_inference()):
                    target.copy_(value)
            for source, value, line in sent:
                if not torch.equal(source.nan_to_num(), value.nan_to_num()):
                    raise RuntimeError(
                        f"pinned memory was written while its copy to the GPU could be under way: {line}"
                    )
