"""A pool of Ray actors that make shards, and what happens when one of them crashes, hangs, or goes with its node.

Ray places, starts and watches the actors. A shard whose worker is lost is given to another one, and the lost worker is
replaced by a new actor, which Ray starts wherever there is room. So is one that says itself that it cannot be trusted
(see :mod:`pipeline.shards.making.faults`); if that was for images that failed in masses, only a worker which has made
no shard yet may try these again. A shard that costs too many workers ends the run. A worker has a second shard waiting,
whose images it reads while it finishes the first.

A pool may grow: it asks Ray for twice as many workers as there are, again and again, up to a most number. What is asked
for comes when the cluster has room, and a cluster that grows by itself takes it as the sign to grow. It shrinks when
nodes go, when a node is asked to leave (its workers finish what they have and get nothing more), and at the end, when
there is nothing left to hand out. No byte of a shard depends on any of it.

What a shard costs here must not grow with the number of workers, so nothing looks at all of them for each shard.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pipeline.errors import WorkError
from pipeline.ray_session import check_alive, leaving_nodes
from pipeline.shards.making.faults import WorkerFaultError
from pipeline.shards.making.members import (
    DIED,
    SHARD_WORDS,
    Call,
    LostError,
    Member,
    Questions,
    Words,
    get_result,
    prepare,
)
from pipeline.shards.making.queue import TaskQueue
from pipeline.shards.making.worker import ShardTask, ShardWorker
from pipeline.storage import StorageError

POLL_SECONDS = 0.5
WAITING_SECONDS = 60.0
ALIVE_SECONDS = 2.0
STORAGE_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
REST_SECONDS = 20e-6
"""After a wait, for each reference: a wait takes time for each of them, so that many are waited for seldom."""
LONGEST_REST_SECONDS = 0.05
UNUSED_SECONDS = 5.0
"""After so long with nothing to hand out, a pool that may grow lets go of workers that have nothing to do."""
PATIENCE_SECONDS = 30.0
"""For a worker that was asked for; after that it counts as one that may never come."""


class WorkerPool:
    """A number of actors of one class, such as :class:`ShardWorker`.

    The class has a method ``prepare``, called once, ``images_done``, called now and then, and those that :meth:`run`
    is asked for, which take a task: a dataclass with a ``name`` and ``failed``, as :class:`ShardTask` has them.

    Args:
        setup: What every worker is told.
        workers: Their number; if the pool may grow, the number that it starts with and keeps.
        gpus: GPUs, or the fraction of one, for each.
        restarts: How often a shard, or the start of a worker, may cost a worker's life.
        shard_timeout: Seconds after which a worker that checks or makes one shard is taken for hung; 0: never.
        say: Receives remarks for the user.
        most: Workers that the pool may grow to; 0: it does not grow.
        worker: Class of the actors, which is made with ``setup``.
        words: For messages.

    Attributes:
        lost: Workers that crashed, hung, went with their node or could not be trusted, and were replaced.
        peak: Most workers that there were at once, those that were still to start not counted.
    """

    def __init__(
        self,
        setup: Any,
        workers: int,
        gpus: float,
        restarts: int,
        shard_timeout: float = 0.0,
        say: Callable[[str], None] = lambda _: None,
        most: int = 0,
        worker: type = ShardWorker,
        words: Words = SHARD_WORDS,
    ) -> None:
        import ray

        self._remote = ray.remote(worker).options(
            num_cpus=setup.threads,
            num_gpus=gpus,
            max_concurrency=3,  # two shards, and the question how far they are
        )
        self._setup = setup
        self._least, self._most = workers, max(workers, most)
        self._restarts = restarts
        self._timeout = shard_timeout
        self._say = say
        self._words = words
        self._members: set[Member] = set()
        self._leaving: set[Member] = set()
        self._starting: dict[Any, Member] = {}
        self._heads: dict[Any, Member] = {}  # by the first of each one's calls
        self._short: dict[Member, None] = {}  # those that may be given a shard, in the order in which they came free
        self._waiting: list[tuple[float, int]] = []
        self._quiet_since = self._alive_at = time.monotonic()
        self._empty_since: float | None = None
        self._told: set[str] = set()
        self.lost = self.peak = 0
        for _ in range(workers):
            self._start(deaths=0)

    def wait(self) -> None:
        """Return when the first worker is ready.

        Raises:
            PipelineError: A worker cannot be started.
        """
        while len(self._members) == len(self._starting):
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
        questions = Questions()
        taken = 0
        while True:
            self._assign(method, queue)
            if not queue and not self._heads:
                return
            self._resize(bool(queue))
            ready = self._step()
            for ref in ready:
                member = self._heads.get(ref)
                done = self._take(member, queue) if member is not None else None  # None: one that has started
                if done is not None:
                    taken += 1
                    yield done
            if not ready:
                self._end_hung(queue)
                questions.ask((member.actor for member in self._heads.values()), report, taken)

    def close(self) -> None:
        """Stop the workers at once, whatever they are doing: a shard appears complete or not at all."""
        import ray

        for member in self._members | self._leaving:
            ray.kill(member.actor)

    def _start(self, deaths: int) -> None:
        actor = self._remote.remote(self._setup)
        member = Member(actor, actor.__ray_call__.remote(prepare), deaths)
        self._members.add(member)
        self._starting[member.starting] = member

    def _step(self) -> list[Any]:
        """Wait a little; see to workers that have started; the calls that are done.

        Raises:
            WorkError: A worker cannot be started, or Ray itself has ended here, so that nothing would ever come.
        """
        import ray

        if time.monotonic() - self._alive_at > ALIVE_SECONDS:
            self._alive_at = time.monotonic()
            check_alive()
            self._see_leaving(leaving_nodes())
        self._start_waiting()
        waited = [*self._heads, *self._starting]
        if not waited:
            time.sleep(POLL_SECONDS)
            return []
        ready, _ = ray.wait(waited, num_returns=1, timeout=POLL_SECONDS)
        if ready:  # and whatever else is done by now
            time.sleep(min(LONGEST_REST_SECONDS, len(waited) * REST_SECONDS))
            ready, _ = ray.wait(waited, num_returns=len(waited), timeout=0)
            self._quiet_since = time.monotonic()
        for ref in ready:
            if ref in self._starting:
                self._see_started(self._starting[ref])
        self._tell_waiting(idle=not self._heads)
        return list(ready)

    def _see_started(self, member: Member) -> None:
        try:
            member.node = get_result(member.starting, "a worker", self._words)
        except (LostError, WorkerFaultError, StorageError) as error:
            self._replace(member)
            if member.deaths < self._restarts:
                return
            self._waiting.pop()
            self._most = max(1, self._most - 1)
            self._least = min(self._least, self._most)
            if not self._members and not self._waiting:
                died = isinstance(error, LostError)
                words = self._words
                reason = f"each died again and again ({error}); {words.less}" if died else f"{error}; {words.kept}"
                raise WorkError(f"no worker can be started: {reason}") from error
            self._say(f"a worker cannot be started ({error}); going on with those that are left")
        else:
            del self._starting[member.starting]
            member.starting = None
            self._short[member] = None
            self.peak = max(self.peak, len(self._members) + len(self._leaving) - len(self._starting))

    def _start_waiting(self) -> None:
        due = [entry for entry in self._waiting if entry[0] <= time.monotonic()]
        for entry in due:
            self._waiting.remove(entry)
            self._start(entry[1])

    def _tell_waiting(self, idle: bool) -> None:
        if idle and time.monotonic() - self._quiet_since > WAITING_SECONDS:
            self._quiet_since = time.monotonic()
            self._say("waiting for a worker: the cluster has no room, or a machine is slow to start one")

    def _resize(self, work: bool) -> None:
        """Ask for more workers while there is work; let go of those that there is none for."""
        if self._most == self._least:
            return
        there = len(self._members) + len(self._waiting)
        if work:
            self._empty_since = None
            at_work = len(self._members) - len(self._starting)
            for _ in range(min(self._most, max(self._least, 2 * at_work)) - there):
                self._start(deaths=0)
            return
        self._empty_since = self._empty_since or time.monotonic()
        if time.monotonic() - self._empty_since > UNUSED_SECONDS:
            unused = [*self._starting.values(), *(member for member in self._short if not member.calls)]
            for member in unused[: max(0, there - self._least)]:
                self._end(member)

    def _see_leaving(self, nodes: frozenset[str]) -> None:
        """Give nothing more to workers on nodes that are asked to leave; others are started in their place."""
        leaving = [member for member in self._members if member.node in nodes]
        if not leaving:
            return
        self._say(f"a machine is asked to leave: its {len(leaving)} worker(s) finish what they have")
        for member in leaving:
            self._members.remove(member)
            self._short.pop(member, None)
            member.leaving = True
            self._leaving.add(member)
            if not member.calls:
                self._end(member)
        for _ in range(self._least - len(self._members) - len(self._waiting)):
            self._start(deaths=0)

    def _assign(self, method: str, queue: TaskQueue) -> None:
        """Give every ready worker a shard, and those that have one a second to wait behind it."""
        if not queue:
            return
        for member in list(self._short):
            if not member.calls and (task := queue.take(member.fresh)) is not None:
                self._hand(member, method, task)
        if queue and not self._heads and self._short and not self._waiting and not self._may_come():
            self._replace(next(iter(self._short)))  # what is left needs a fresh worker, and none is coming
            self._quiet_since = time.monotonic()
        for member in list(self._short):
            if len(member.calls) == 1 and member.calls[0].task.name not in queue.alone:
                task = queue.take_second()
                if task is None:
                    return
                self._hand(member, method, task)

    def _may_come(self) -> bool:
        """Whether a worker that was asked for can be counted on."""
        return bool(self._starting) and time.monotonic() - self._quiet_since < PATIENCE_SECONDS

    def _hand(self, member: Member, method: str, task: ShardTask) -> None:
        member.fresh = member.fresh and method != "make"
        ref = getattr(member.actor, method).remote(task)
        member.calls.append(Call(ref, task, time.monotonic()))
        if len(member.calls) == 1:
            self._heads[ref] = member
        else:
            del self._short[member]

    def _take(self, member: Member, queue: TaskQueue) -> tuple[ShardTask, Any] | None:
        """The result of a worker's first call, which is done; None if the shard was not made.

        Raises:
            PipelineError: As :meth:`run`.
        """
        call = member.calls.popleft()
        del self._heads[call.ref]
        if member.calls:
            member.calls[0].started = time.monotonic()
            self._heads[member.calls[0].ref] = member
        try:
            result = get_result(call.ref, call.task.name, self._words)
        except LostError as error:
            self._lose(member, [call, *member.calls], queue, f"{DIED} ({error}); {self._words.less}")
            return None
        except WorkerFaultError as error:
            self._tell_fault(error)
            call.task = replace(call.task, failed=call.task.failed | error.failed)
            reason = f"no worker could make it, the last one says: {error}"
            self._lose(member, [call, *member.calls], queue, reason)
            return None
        except StorageError as error:
            self._count_failure(call.task, queue, str(error))
            queue.give_back([call.task])
            self._free(member)
            time.sleep(STORAGE_PAUSE_SECONDS)
            return None
        member.deaths = 0
        self._free(member)
        return call.task, result

    def _free(self, member: Member) -> None:
        """See to a worker that has finished a call: it may have another, or it was to finish what it had."""
        if not member.leaving:
            self._short[member] = None
        elif not member.calls:
            self._end(member)

    def _end_hung(self, queue: TaskQueue) -> None:
        for member in list(self._heads.values()) if self._timeout else []:
            if time.monotonic() - member.calls[0].started > self._timeout:
                slow = f"it took longer than parse.shard_timeout, {self._timeout:g} s"
                self._lose(member, list(member.calls), queue, f"{DIED} ({slow}); {self._words.less}")

    def _lose(self, member: Member, calls: list[Call], queue: TaskQueue, reason: str) -> None:
        """Replace a worker and give its shards to others; the first of them is taken for the cause."""
        self._replace(member)
        self._count_failure(calls[0].task, queue, reason)
        queue.give_back([call.task for call in calls])

    def _tell_fault(self, error: WorkerFaultError) -> None:
        """Say why a worker is replaced, the same reason once."""
        if str(error) not in self._told:
            self._told.add(str(error))
            self._say(f"a worker is replaced, and its {self._words.task} given to another one: {error}")

    def _end(self, member: Member) -> None:
        """Stop a worker and forget it."""
        import ray

        ray.kill(member.actor)
        self._members.discard(member)
        self._leaving.discard(member)
        self._short.pop(member, None)
        self._starting.pop(member.starting, None)
        if member.calls:
            self._heads.pop(member.calls[0].ref, None)

    def _replace(self, member: Member) -> None:
        self.lost += 1
        self._end(member)
        if member.leaving:  # another was started in its place when it was asked to leave
            return
        # the first time at once; then ever later, for a machine that is short of memory needs time
        pause = min(2.0**member.deaths, LONGEST_PAUSE_SECONDS) if member.deaths else 0.0
        self._waiting.append((time.monotonic() + pause, member.deaths + 1))

    def _count_failure(self, task: ShardTask, queue: TaskQueue, reason: str) -> None:
        queue.failures[task.name] = queue.failures.get(task.name, 0) + 1
        if queue.failures[task.name] > self._restarts:
            raise WorkError(f"{task.name} failed: {reason}; {self._words.kept}")
