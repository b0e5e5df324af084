"""Training in several processes, on one machine or many, by Ray Train; a death costs the steps since a state.

States, results and progress pass through one folder that all workers see; Ray itself keeps only its own notes there.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.errors import InputError, PipelineError, WorkError
from pipeline.files import read_json, write_json
from pipeline.ray_address import shortened
from pipeline.ray_session import (
    Resources,
    check_alive,
    check_reachable,
    is_open,
    is_started_here,
    local_resources,
    ray_session,
)
from pipeline.trainer.distributed import Ranks, current_ranks
from pipeline.trainer.state_files import NOTES_NAME, PROGRESS_NAME, RESULT_NAME, STOPPED_NAME
from pipeline.trainer.worker_report import STOP_NAME, WATCH_SECONDS, WorkerReport, read_stopped, watch

STOP_SECONDS: Final = 10.0
"""In which workers that are asked to stop may keep their state."""

_ENVIRONMENT = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a busy machine needs longer than Ray's minute
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
}
"""What Ray Train reads from its environment; a user's own setting wins."""


@dataclass(frozen=True)
class WorkerPlan:
    """Who trains, and where.

    Attributes:
        workers: Processes.
        folder: Of the run's state; must be on a file system that all workers see.
        name: Of the run for Ray: a hash of the parameters, so that no notes of another run are taken up.
        address: Of a Ray cluster; None: a local one.
        gpu: Each worker takes one GPU; None: if the cluster has any.
        threads: CPUs that a worker takes; 0: a local one's share of the machine, one on a cluster.
        max_failures: How often workers may die before the run fails.
        modules: Folders of packages that the workers import besides this one, sent to a cluster.
    """

    workers: int
    folder: Path
    name: str
    address: str | None = None
    gpu: bool | None = None
    threads: int = 0
    max_failures: int = 3
    modules: tuple[str, ...] = ()


WorkerFunction = Callable[[Mapping[str, Any], Ranks, str, WorkerReport], None]
"""Called in each worker with the configuration, its rank, its device and the way to report."""


def _device(gpu: bool) -> str:
    if not gpu:
        return "cpu"
    from ray.train.torch import get_device

    return str(get_device())


def _worker_loop(function: WorkerFunction, folder: Path, gpu: bool, threads: int) -> Callable[[dict[str, Any]], None]:
    def loop(config: dict[str, Any]) -> None:
        import torch

        if read_stopped(folder) is not None:
            return  # Ray tries again after any exception, but what was wrong is still wrong
        torch.set_num_threads(threads)
        ranks = current_ranks()
        try:
            function(config, ranks, _device(gpu), WorkerReport(folder, ranks))
        except PipelineError as error:
            write_json(folder / STOPPED_NAME, {"message": str(error), "exit_code": error.exit_code})
            raise
        except KeyboardInterrupt:
            stopped = WorkError("stopped with its state kept")
            write_json(folder / STOPPED_NAME, {"message": str(stopped), "exit_code": stopped.exit_code})
            raise stopped from None

    return loop


def _check_resources(plan: WorkerPlan, found: Resources, gpu: bool, threads: int) -> None:
    """A request that the cluster can never meet would wait for ever."""
    if gpu and found.gpus < plan.workers:
        raise InputError(f"--workers {plan.workers} need a GPU each, but Ray has {found.gpus:g}")
    if found.cpus < plan.workers * threads or found.node_cpus < threads:
        raise InputError(
            f"--workers {plan.workers} with {threads} CPUs each (threads) need {plan.workers * threads}, but Ray has "
            f"{found.cpus}, and {found.node_cpus} on its largest node"
        )


def _threads(plan: WorkerPlan) -> int:
    if plan.threads:
        return plan.threads
    return max(1, len(os.sched_getaffinity(0)) // plan.workers) if plan.address is None else 1


def _use_gpu(plan: WorkerPlan, found: Resources) -> bool:
    return found.gpus > 0 if plan.gpu is None else plan.gpu


def check_plan(plan: WorkerPlan) -> None:
    """Check that the workers of a plan can be had, before anything is computed for them; it takes seconds.

    Raises:
        InputError: The cluster does not answer or is too small.
    """
    check_reachable(plan.address)
    threads = _threads(plan)
    if is_started_here(plan.address):
        found = local_resources(plan.workers * threads)
    else:
        with ray_session(plan.address) as found:
            pass
    _check_resources(plan, found, _use_gpu(plan, found), threads)


def run_workers(
    function: WorkerFunction,
    config: Mapping[str, Any],
    plan: WorkerPlan,
    *,
    what: str,
    tell: Callable[[str], None] = lambda _: None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run a training in several workers; returns what the first rank gave to :meth:`WorkerReport.result`.

    Args:
        function: A module's own function: workers import it.
        config: JSON-like, for every worker.
        plan: Who trains, and where.
        what: Name for the progress line.
        tell: Receives remarks for a person.
        quiet: No progress line.

    Raises:
        InputError: The cluster does not answer or is too small; or a worker found the input wrong.
        WorkError: A worker's own, or workers died too often.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    (plan.folder / NOTES_NAME).mkdir(parents=True, exist_ok=True)
    for name in (STOPPED_NAME, RESULT_NAME, PROGRESS_NAME, f"{NOTES_NAME}/{STOP_NAME}"):
        (plan.folder / name).unlink(missing_ok=True)
    attempts = 1 if is_open() else plan.max_failures + 1
    for attempt in range(attempts):
        try:
            _run_once(function, config, plan, what, tell, quiet)
        except _StartError as error:
            if attempt + 1 == attempts:
                raise _failure(plan, error) from error
        else:
            break
    stopped = read_stopped(plan.folder)
    if stopped is not None:
        raise stopped
    result: dict[str, Any] = read_json(plan.folder / RESULT_NAME, "result of the workers")
    return result


class _StartError(Exception):
    """A worker, or what Ray Train watches them with, died at a moment that Ray Train gives up at.

    Ray keeps the place of the other workers for the whole session then, so that only a new one can try again.
    """


def _run_once(
    function: WorkerFunction,
    config: Mapping[str, Any],
    plan: WorkerPlan,
    what: str,
    tell: Callable[[str], None],
    quiet: bool,
) -> None:
    """Train in one session on Ray, which answers the deaths of workers that have begun.

    Raises:
        _StartError: One died before.
    """
    threads = _threads(plan)
    with ray_session(plan.address, cpus=plan.workers * threads, modules=plan.modules) as found:
        gpu = _use_gpu(plan, found)
        _check_resources(plan, found, gpu, threads)
        with watch(plan.folder, what, tell, quiet):
            _fit(_worker_loop(function, plan.folder, gpu, threads), config, plan, gpu, threads)


def _fit(loop: Callable[..., None], config: Mapping[str, Any], plan: WorkerPlan, gpu: bool, threads: int) -> None:
    from ray.exceptions import RayActorError
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    resources = {"CPU": threads, **({"GPU": 1} if gpu else {})}
    failures = FailureConfig(max_failures=plan.max_failures, controller_failure_limit=plan.max_failures)
    trainer = TorchTrainer(
        loop,
        train_loop_config=dict(config),
        scaling_config=ScalingConfig(num_workers=plan.workers, use_gpu=gpu, resources_per_worker=resources),
        run_config=RunConfig(name=plan.name, storage_path=str(plan.folder / NOTES_NAME), failure_config=failures),
    )
    try:
        _fit_interruptibly(trainer.fit, plan.folder)
    except (WorkerGroupError, ControllerError, RayActorError) as error:
        stopped = read_stopped(plan.folder)
        if stopped is not None:
            raise stopped from None
        if isinstance(error, WorkerGroupError):
            raise _failure(plan, error) from error
        raise _StartError(_reason(error)) from error


def _failure(plan: WorkerPlan, error: Exception) -> WorkError:
    return WorkError(
        f"the workers failed more than {plan.max_failures} times (training.max_failures): {_reason(error)}; the last "
        f"state is kept in {plan.folder}, so the same command goes on from it"
    )


def _reason(error: Exception) -> str:
    """The end of an error's text: before it come the workers' traces."""
    lines = str(error).strip().splitlines()
    return shortened(RuntimeError(lines[-1])) if lines else type(error).__name__


def _fit_interruptibly(fit: Callable[[], object], folder: Path) -> None:
    """Run a fit in a thread: this one hears of interrupts at once, and of the end of Ray, for which a fit would wait.

    Interrupted, it gives the workers a moment to keep their state; they end with the session on Ray.
    """
    raised: list[BaseException] = []
    ended = threading.Event()  # an interrupted join() can take the thread for ended

    def run() -> None:
        try:
            fit()
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        while not ended.wait(WATCH_SECONDS):
            check_alive()
    except KeyboardInterrupt:
        (folder / NOTES_NAME / STOP_NAME).touch()
        deadline = time.monotonic() + STOP_SECONDS
        while read_stopped(folder) is None and not ended.is_set() and time.monotonic() < deadline:
            time.sleep(STOP_SECONDS / 100)
        raise
    if raised:
        raise raised.pop()
