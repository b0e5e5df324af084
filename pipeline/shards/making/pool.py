"""A pool of Ray actors that make shards, and what happens when one of them crashes, hangs, or goes with its node.

Ray places, starts and watches the actors. A shard whose worker is lost is given to another one, and the lost worker is
replaced by a new actor, which Ray starts wherever there is room. So is one that says itself that it cannot be trusted
(see :mod:`pipeline.shards.making.faults`); if that was for images that failed in masses, only a worker which has made
no shard yet may try these again. A shard that costs too many workers ends the run. A worker has a second shard waiting,
whose images it reads while it finishes the first.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import PipelineError, WorkError
from pipeline.files import DiskError
from pipeline.ray_session import check_alive
from pipeline.shards.making.faults import WorkerFaultError
from pipeline.shards.making.queue import TaskQueue
from pipeline.shards.making.worker import ShardTask, ShardWorker
from pipeline.storage import StorageError

POLL_SECONDS = 0.5
WAITING_SECONDS = 60.0
ALIVE_SECONDS = 2.0
STORAGE_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_REASON = 400


@dataclass(eq=False)
class _Call:
    """A shard that an actor works on. ``started`` is when it became the first of its actor's."""

    ref: Any
    task: ShardTask
    started: float


@dataclass(eq=False)
class _Member:
    """An actor; ``starting`` until it is ready, ``fresh`` until it is given a shard to make.

    ``calls`` are in the order in which it was given them.
    """

    actor: Any
    starting: Any
    deaths: int = 0
    fresh: bool = True
    calls: deque[_Call] = field(default_factory=deque)


class WorkerPool:
    """A number of actors of one class, such as :class:`ShardWorker`.

    The class has a method ``prepare``, called once, ``images_done``, called now and then, and those that :meth:`run`
    is asked for, which take a task: a dataclass with a ``name`` and ``failed``, as :class:`ShardTask` has them.

    Args:
        setup: What every worker is told.
        workers: Their number.
        gpus: GPUs, or the fraction of one, for each.
        restarts: How often a shard, or the start of a worker, may cost a worker's life.
        shard_timeout: Seconds after which a worker that checks or makes one shard is taken for hung; 0: never.
        say: Receives remarks for the user.
        worker: Class of the actors, which is made with ``setup``.
    """

    def __init__(
        self,
        setup: Any,
        workers: int,
        gpus: float,
        restarts: int,
        shard_timeout: float = 0.0,
        say: Callable[[str], None] = lambda _: None,
        worker: type = ShardWorker,
    ) -> None:
        import ray

        self._remote = ray.remote(worker).options(
            num_cpus=setup.threads,
            num_gpus=gpus,
            max_concurrency=3,  # two shards, and the question how far they are
        )
        self._setup = setup
        self._restarts = restarts
        self._timeout = shard_timeout
        self._say = say
        self._members = [self._start(deaths=0) for _ in range(workers)]
        self._waiting: list[tuple[float, int]] = []
        self._quiet_since = self._alive_at = time.monotonic()
        self._told: set[str] = set()
        self.lost = 0

    def wait(self) -> None:
        """Return when the first worker is ready.

        Raises:
            PipelineError: A worker cannot be started.
        """
        while not any(member.starting is None for member in self._members):
            self._step()

    def run(self, method: str, tasks: Iterator[Any], report: Callable[[int], None]) -> Iterator[tuple[Any, Any]]:
        """Yield every task and its result of ``method``, as they finish.

        Args:
            method: ``check`` or ``make``.
            tasks: Drawn and handed out in this order, to whichever worker is free.
            report: Called now and then with the number of images done in shards that are not finished.

        Raises:
            PipelineError: A worker found the input wrong or cannot work; or a shard cost too many workers.
        """
        queue = TaskQueue(tasks)
        questions: list[Any] = []
        while True:
            self._assign(method, queue)
            if not queue and not any(member.calls for member in self._members):
                return
            ready = self._step()
            for member in list(self._members):
                while member.calls and member.calls[0].ref in ready:
                    call = member.calls.popleft()
                    if member.calls:
                        member.calls[0].started = time.monotonic()
                    try:
                        result = _get(call.ref, call.task.name)
                    except _LostError as error:
                        self._lose(member, [call, *member.calls], queue, f"{_DIED} ({error}); {_LESS}")
                        break
                    except WorkerFaultError as error:
                        self._tell_fault(error)
                        call.task = replace(call.task, failed=call.task.failed | error.failed)
                        reason = f"no worker could make it, the last one says: {error}"
                        self._lose(member, [call, *member.calls], queue, reason)
                        break
                    except StorageError as error:
                        self._count_failure(call.task, queue, str(error))
                        queue.give_back([call.task])
                        time.sleep(STORAGE_PAUSE_SECONDS)
                        continue
                    member.deaths = 0
                    yield call.task, result
            self._end_hung(queue)
            if not ready:
                questions = _ask(questions, [member.actor for member in self._members if member.calls], report)

    def close(self) -> None:
        """Stop the workers at once, whatever they are doing: a shard appears complete or not at all."""
        import ray

        for member in self._members:
            ray.kill(member.actor)

    def _start(self, deaths: int) -> _Member:
        actor = self._remote.remote(self._setup)
        return _Member(actor, actor.prepare.remote(), deaths)

    def _step(self) -> set[Any]:
        """Wait a little; see to workers that have started; the calls that are done.

        Raises:
            WorkError: A worker cannot be started, or Ray itself has ended here, so that nothing would ever come.
        """
        import ray

        if time.monotonic() - self._alive_at > ALIVE_SECONDS:
            self._alive_at = time.monotonic()
            check_alive()
        self._start_waiting()
        starting = {member.starting: member for member in self._members if member.starting is not None}
        calls = [member.calls[0].ref for member in self._members if member.calls]
        if not calls and not starting:
            time.sleep(POLL_SECONDS)
            return set()
        ready, _ = ray.wait([*calls, *starting], num_returns=1, timeout=POLL_SECONDS)
        if ready:  # and whatever else is done by now
            ready, _ = ray.wait([*calls, *starting], num_returns=len(calls) + len(starting), timeout=0)
            self._quiet_since = time.monotonic()
        for ref in [ref for ref in ready if ref in starting]:
            self._see_started(starting[ref])
        self._tell_waiting(idle=not calls)
        return set(ready)

    def _see_started(self, member: _Member) -> None:
        try:
            _get(member.starting, "a worker")
        except (_LostError, WorkerFaultError, StorageError) as error:
            self._replace(member)
            if member.deaths < self._restarts:
                return
            self._waiting.pop()
            if not self._members and not self._waiting:
                died = isinstance(error, _LostError)
                reason = f"each died again and again ({error}); {_LESS}" if died else f"{error}; {_KEPT}"
                raise WorkError(f"no worker can be started: {reason}") from error
            self._say(f"a worker cannot be started ({error}); going on with those that are left")
        else:
            member.starting = None

    def _start_waiting(self) -> None:
        due = [entry for entry in self._waiting if entry[0] <= time.monotonic()]
        for entry in due:
            self._waiting.remove(entry)
            self._members.append(self._start(entry[1]))

    def _tell_waiting(self, idle: bool) -> None:
        if idle and time.monotonic() - self._quiet_since > WAITING_SECONDS:
            self._quiet_since = time.monotonic()
            self._say("waiting for a worker: the cluster has no room, or a machine is slow to start one")

    def _assign(self, method: str, queue: TaskQueue) -> None:
        """Give every ready worker a shard, and those that have one a second to wait behind it."""
        ready = [member for member in self._members if member.starting is None]
        for member in ready:
            if queue and not member.calls and (task := queue.take(member.fresh)) is not None:
                self._hand(member, method, task)
        idle = [member for member in ready if not member.calls]
        if queue and idle and len(idle) == len(self._members) and not self._waiting:
            self._replace(idle[0])  # what is left needs a fresh worker, and none is coming
        for member in ready:
            if len(member.calls) == 1 and member.calls[0].task.name not in queue.alone:
                task = queue.take_second()
                if task is None:
                    return
                self._hand(member, method, task)

    def _hand(self, member: _Member, method: str, task: ShardTask) -> None:
        member.fresh = member.fresh and method != "make"
        ref = getattr(member.actor, method).remote(task)
        member.calls.append(_Call(ref, task, time.monotonic()))

    def _end_hung(self, queue: TaskQueue) -> None:
        for member in list(self._members):
            if self._timeout and member.calls and time.monotonic() - member.calls[0].started > self._timeout:
                slow = f"it took longer than parse.shard_timeout, {self._timeout:g} s"
                self._lose(member, list(member.calls), queue, f"{_DIED} ({slow}); {_LESS}")

    def _lose(self, member: _Member, calls: list[_Call], queue: TaskQueue, reason: str) -> None:
        """Replace a worker and give its shards to others; the first of them is taken for the cause."""
        self._replace(member)
        self._count_failure(calls[0].task, queue, reason)
        queue.give_back([call.task for call in calls])

    def _tell_fault(self, error: WorkerFaultError) -> None:
        """Say why a worker is replaced, the same reason once."""
        if str(error) not in self._told:
            self._told.add(str(error))
            self._say(f"a worker is replaced, and its shard given to another one: {error}")

    def _replace(self, member: _Member) -> None:
        import ray

        self.lost += 1
        ray.kill(member.actor)
        self._members.remove(member)
        # the first time at once; then ever later, for a machine that is short of memory needs time
        pause = min(2.0**member.deaths, LONGEST_PAUSE_SECONDS) if member.deaths else 0.0
        self._waiting.append((time.monotonic() + pause, member.deaths + 1))

    def _count_failure(self, task: ShardTask, queue: TaskQueue, reason: str) -> None:
        queue.failures[task.name] = queue.failures.get(task.name, 0) + 1
        if queue.failures[task.name] > self._restarts:
            raise WorkError(f"{task.name} failed: {reason}; {_KEPT}")


_LESS = "is there too little memory? fewer --workers or a smaller parse.batch_size need less"
_DIED = "its worker died again and again"
_KEPT = "shards that are committed are kept, so the same command goes on from them"


class _LostError(Exception):
    """A worker is gone, with what it was doing."""


def _ask(questions: list[Any], actors: list[Any], report: Callable[[int], None]) -> list[Any]:
    """Ask the actors how far they are without waiting for the answer; report those of the last time."""
    import ray

    if questions:
        answered, late = ray.wait(questions, num_returns=len(questions), timeout=0)
        if late:
            return questions
        done = 0
        for ref in answered:
            try:
                done += ray.get(ref)
            except ray.exceptions.RayError:  # it died; its shard's own result tells
                continue
        report(done)
    return [actor.images_done.remote() for actor in actors]


def _get(ref: Any, what: str) -> Any:
    """The result of a call, with the worker's error as it was raised there.

    Raises:
        PipelineError: The worker's own; or it could not write.
        _LostError: The worker died, was killed, or its node is gone.
    """
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, DiskError):
            raise WorkError(f"{what} failed: {cause.reason}; {_KEPT}") from None
        if isinstance(cause, PipelineError):
            raise cause from None
        if isinstance(cause, OSError | MemoryError):
            reason = getattr(cause, "strerror", None) or cause
            raise WorkError(f"{what} failed: {reason}; {_KEPT}") from error
        raise
    except ray.exceptions.RuntimeEnvSetupError as error:  # its first line says no more than its name
        raise _LostError(" ".join(str(error).split())[:LONGEST_REASON]) from error
    except ray.exceptions.RayError as error:
        raise _LostError(str(error).strip().splitlines()[0]) from error
