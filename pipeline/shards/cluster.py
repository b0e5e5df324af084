"""Ray: a quiet session, and a pool of actors that each work on one shard at a time and survive crashes."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline
from pipeline.errors import InputError, PipelineError, WorkError
from pipeline.shards.worker import ShardTask, ShardWorker, WorkerSetup

POLL_SECONDS = 0.5
OBJECT_STORE_BYTES = 128 * 1024 * 1024  # shards never pass through it: tasks and entries are small

_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would otherwise report usage to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default, without its warning
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # restarts of workers would be told on standard output
}
"""What Ray reads from its environment when it starts; a user's own setting wins."""


@dataclass(frozen=True)
class Resources:
    """What a Ray cluster has in all."""

    cpus: int
    gpus: float


@contextmanager
def ray_session(address: str | None, cpus: int | None = None) -> Iterator[Resources]:
    """Connect to a Ray cluster, or start a quiet local one; leave it at the end. A session that is open is used.

    Args:
        address: Of a cluster (``auto``: the one of this machine); None: start a local one.
        cpus: CPUs of a local one at the least; None: those of the machine.

    Raises:
        InputError: The address is of Ray Client, or no cluster answers there.
    """
    if address is not None and address.startswith("ray://"):
        raise InputError(
            f"--address {address}: Ray Client is not supported; give HOST:PORT of the head node, or use ray job submit"
        )
    for name, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    opened = not ray.is_initialized()
    if opened:
        _connect(address, cpus)
    try:
        found = ray.cluster_resources()
        yield Resources(cpus=max(1, int(found.get("CPU", 1))), gpus=float(found.get("GPU", 0)))
    finally:
        if opened:
            ray.shutdown()


def _connect(address: str | None, cpus: int | None) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        least = max(cpus, len(os.sched_getaffinity(0))) if cpus is not None else None
        ray.init(
            address="local",
            num_cpus=least,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **quiet,
        )
        return
    try:
        # the workers of other machines get this very package
        ray.init(address=address, runtime_env={"py_modules": [str(Path(pipeline.__file__).parent)]}, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}") from error


class WorkerPool:
    """A number of :class:`ShardWorker` actors. Ray restarts one that dies and runs its shard again.

    Args:
        setup: What every worker is told.
        workers: Their number.
        gpus: GPUs, or the fraction of one, for each.
        restarts: How often one may die before it is given up.
    """

    def __init__(self, setup: WorkerSetup, workers: int, gpus: float, restarts: int) -> None:
        import ray

        remote = ray.remote(ShardWorker).options(
            num_cpus=setup.threads,
            num_gpus=gpus,
            max_restarts=restarts,
            max_task_retries=restarts,
            max_concurrency=2,  # one shard, and the question how far it is
        )
        self._actors = [remote.remote(setup) for _ in range(workers)]
        self._starting = {actor.prepare.remote(): actor for actor in self._actors}
        self._idle: list[Any] = []

    def wait(self) -> None:
        """Return when the first worker is ready.

        Raises:
            PipelineError: A worker cannot be started.
        """
        import ray

        while not self._idle:
            ready, _ = ray.wait(list(self._starting), timeout=POLL_SECONDS)
            self._collect_started(ready)

    def run(
        self, method: str, tasks: Iterator[ShardTask], report: Callable[[int], None]
    ) -> Iterator[tuple[ShardTask, Any]]:
        """Yield every task and its result of ``method``, as they finish.

        Args:
            method: ``check`` or ``make``.
            tasks: Drawn and handed out in this order, to whichever worker is free.
            report: Called now and then with the number of images done in shards that are not finished.

        Raises:
            PipelineError: A worker found the input wrong or cannot work; or all died.
        """
        import ray

        running: dict[Any, tuple[Any, ShardTask]] = {}
        questions: dict[Any, Any] = {}
        while True:
            while self._idle and (task := next(tasks, None)) is not None:
                actor = self._idle.pop()
                running[getattr(actor, method).remote(task)] = (actor, task)
            if not running:
                return
            ready, _ = ray.wait([*running, *self._starting], timeout=POLL_SECONDS)
            self._collect_started([ref for ref in ready if ref in self._starting])
            for ref in [ref for ref in ready if ref in running]:
                actor, task = running.pop(ref)
                result = _get(ref, task.name)
                self._idle.append(actor)
                yield task, result
            if not ready:
                questions = _ask(questions, [actor for actor, _ in running.values()], report)

    def close(self) -> None:
        """Stop the workers at once, whatever they are doing: a shard appears complete or not at all."""
        import ray

        for actor in self._actors:
            ray.kill(actor)

    def _collect_started(self, ready: Sequence[Any]) -> None:
        for ref in ready:
            actor = self._starting.pop(ref)
            _get(ref, "a worker")
            self._idle.append(actor)


def _ask(questions: dict[Any, Any], actors: Sequence[Any], report: Callable[[int], None]) -> dict[Any, Any]:
    """Ask the actors how far they are without waiting for the answer; report those of the last time."""
    import ray

    if questions:
        answered, late = ray.wait(list(questions), num_returns=len(questions), timeout=0)
        if late:
            return questions
        done = 0
        for ref in answered:
            try:
                done += ray.get(ref)
            except ray.exceptions.RayError:  # it died; its shard's own result tells
                continue
        report(done)
    return {actor.images_done.remote(): actor for actor in actors}


def _get(ref: Any, what: str) -> Any:
    """The result of a call, with the worker's error as it was raised there.

    Raises:
        PipelineError: The worker's own; or it could not write, or died too often.
    """
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, PipelineError):
            raise cause from None
        if isinstance(cause, OSError | MemoryError):
            reason = getattr(cause, "strerror", None) or cause
            raise WorkError(
                f"{what} failed: {reason}; shards that are committed are kept, so the same command goes on from them"
            ) from error
        raise
    except ray.exceptions.RayActorError as error:
        raise WorkError(
            f"{what} failed: its worker died again and again ({str(error).strip().splitlines()[0]}); shards that are "
            f"committed are kept; is there too little memory? fewer --workers or a smaller parse.batch_size need less"
        ) from error
