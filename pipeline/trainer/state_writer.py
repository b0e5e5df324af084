"""Writes the states of a training, in a thread of its own where the training goes on meanwhile."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from pipeline.trainer.states import Snapshot, StateFolder


class StateWriter:
    """Writes one state at a time; at the end of the block the last one is on disk.

    Args:
        states: Where they are kept.
        apart: In a thread. Snapshots must then have memory of their own.
    """

    def __init__(self, states: StateFolder, apart: bool) -> None:
        self.apart = apart
        self._states = states
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._writing: Future[Path] | None = None

    @property
    def done(self) -> bool:
        """Whether a state has been written, or failed to be, that :meth:`finish` has not told of."""
        return self._writing is not None and self._writing.done()

    def write(
        self, step: int, snapshot: Snapshot, values: Mapping[str, Any], best: Mapping[str, Tensor] | Path | None
    ) -> None:
        """Begin to write a state; see :meth:`StateFolder.write`.

        Raises:
            InputError, WorkError: The state before could not be written; nor, unless it is done in a thread, this one.
        """
        self.finish()
        if self.apart:
            self._writing = self._pool.submit(self._states.write, step, snapshot, deepcopy(dict(values)), best)
        else:
            folder = self._states.write(step, snapshot, values, best)
            self._writing = Future()
            self._writing.set_result(folder)

    def finish(self) -> Path | None:
        """Wait for the state that is being written; its folder, None if there is none that was not told of.

        Raises:
            InputError, WorkError: See :meth:`StateFolder.write`.
        """
        writing, self._writing = self._writing, None
        return None if writing is None else writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        if error is None:
            self.finish()
