"""The actors of a pool and the calls that they work on; what comes of a call, and what it means when nothing does."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import PipelineError, WorkError
from pipeline.files import DiskError
from pipeline.shards.making.worker import ShardTask

LONGEST_REASON = 400
ASKED_PER_SECOND = 200
"""Workers that are asked how far they are, at the most."""

DIED = "its worker died again and again"


@dataclass(frozen=True)
class Words:
    """How a command's users call what its pool does.

    Attributes:
        task: What a worker makes at a time.
        less: What they can do where memory does not suffice.
        kept: What is not lost when the pool fails.
    """

    task: str
    less: str
    kept: str


SHARD_WORDS = Words(
    "shard",
    "is there too little memory? fewer --workers or a smaller parse.batch_size need less",
    "shards that are committed are kept, so the same command goes on from them",
)


@dataclass(eq=False)
class Call:
    """A shard that an actor works on. ``started`` is when it became the first of its actor's."""

    ref: Any
    task: ShardTask
    started: float


@dataclass(eq=False)
class Member:
    """An actor; ``starting`` until it is ready, ``fresh`` until it is given a shard to make.

    ``calls`` are in the order in which it was given them. One that is ``leaving`` gets no more of them.
    """

    actor: Any
    starting: Any
    deaths: int = 0
    fresh: bool = True
    node: str = ""
    leaving: bool = False
    calls: deque[Call] = field(default_factory=deque)


class LostError(Exception):
    """A worker is gone, with what it was doing."""


def prepare(worker: Any) -> str:
    """Run in a worker: prepare it; the node that it is on."""
    import ray

    worker.prepare()
    return str(ray.get_runtime_context().get_node_id())


class Questions:
    """Asks workers how far they are without waiting for the answer, the less often the more they are."""

    def __init__(self) -> None:
        self._asked: list[Any] = []
        self._taken = 0
        self._next = 0.0

    def ask(self, actors: Iterable[Any], report: Callable[[int], None], taken: int) -> None:
        """Report what the actors answered to the last question, and ask the next one.

        Args:
            actors: Those at work.
            report: Is told the number of images done in shards whose results have not been taken.
            taken: Results that have been taken so far; answers from before the last of them may count its images, and
                are dropped.
        """
        import ray

        if time.monotonic() < self._next:
            return
        if self._asked:
            answered, late = ray.wait(self._asked, num_returns=len(self._asked), timeout=0)
            if late:
                return
            done = 0
            for ref in answered:
                try:
                    done += ray.get(ref)
                except ray.exceptions.RayError:  # it died; its shard's own result tells
                    continue
            if taken == self._taken:
                report(done)
        self._taken = taken
        self._asked = [actor.images_done.remote() for actor in actors]
        self._next = time.monotonic() + len(self._asked) / ASKED_PER_SECOND


def get_result(ref: Any, what: str, words: Words = SHARD_WORDS) -> Any:
    """The result of a call, with the worker's error as it was raised there.

    Args:
        ref: Of the call.
        what: What was called, for messages.
        words: Of the command.

    Raises:
        PipelineError: The worker's own; or it could not write.
        LostError: The worker died, was killed, or its node is gone.
    """
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, DiskError):
            raise WorkError(f"{what} failed: {cause.reason}; {words.kept}") from None
        if isinstance(cause, PipelineError):
            raise cause from None
        if isinstance(cause, OSError | MemoryError):
            reason = getattr(cause, "strerror", None) or cause
            raise WorkError(f"{what} failed: {reason}; {words.kept}") from error
        raise
    except ray.exceptions.RuntimeEnvSetupError as error:  # its first line says no more than its name
        raise LostError(" ".join(str(error).split())[:LONGEST_REASON]) from error
    except ray.exceptions.RayError as error:
        raise LostError(str(error).strip().splitlines()[0]) from error
