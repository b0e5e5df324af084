"""Ray: a quiet session on a local or a remote cluster, and what it has."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline
from pipeline.errors import InputError, WorkError

OBJECT_STORE_BYTES = 128 * 1024 * 1024  # shards never pass through it: tasks and entries are small

START_ATTEMPTS = 2

_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would otherwise report usage to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default, without its warning
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # restarts of workers would be told on standard output
}
"""What Ray reads from its environment when it starts; a user's own setting wins."""

_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the process that ``ray job submit`` starts; it holds the runtime environment of the job."""


@dataclass(frozen=True)
class Resources:
    """What a Ray cluster has.

    Attributes:
        cpus: In all.
        gpus: In all.
        node_cpus: Of the node that has most.
    """

    cpus: int
    gpus: float
    node_cpus: int


def local_resources(cpus: int | None = None) -> Resources:
    """What a cluster that is started on this machine has; nothing is started, and no GPU is touched.

    Args:
        cpus: CPUs at the least; None: those of the machine.
    """
    import torch

    count = max(cpus or 1, len(os.sched_getaffinity(0)))
    return Resources(cpus=count, gpus=float(torch.cuda.device_count()), node_cpus=count)


def is_started_here(address: str | None) -> bool:
    """Whether a session with this address starts a cluster on this machine, rather than joins one that is there."""
    ray = sys.modules.get("ray")
    return address is None and not (ray is not None and ray.is_initialized())


@contextmanager
def ray_session(address: str | None, cpus: int | None = None, modules: tuple[str, ...] = ()) -> Iterator[Resources]:
    """Connect to a Ray cluster, or start a quiet local one; leave it at the end. A session that is open is used.

    Args:
        address: Of a cluster (``auto``: the one of this machine); None: start a local one.
        cpus: CPUs of a local one at the least; None: those of the machine.
        modules: Folders of packages that the workers of a cluster get besides this one.

    Raises:
        InputError: The address is of Ray Client, or no cluster answers there.
        WorkError: A local one does not start.
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
        _connect(address, cpus, modules)
    try:
        yield _find_resources()
    finally:
        if opened:
            ray.shutdown()


def _find_resources() -> Resources:
    import ray

    found = ray.cluster_resources()
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return Resources(
        cpus=max(1, int(found.get("CPU", 1))), gpus=float(found.get("GPU", 0)), node_cpus=int(max(nodes, default=0))
    )


def _connect(address: str | None, cpus: int | None, modules: tuple[str, ...]) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        _start(cpus, quiet)
        return
    try:
        ray.init(address=address, runtime_env=_code_for_workers(modules), **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}") from error


def _start(cpus: int | None, quiet: dict[str, Any]) -> None:
    """Start a local cluster; a busy machine gets a second chance, for Ray waits only half a minute for itself."""
    import ray

    found = local_resources(cpus)
    for attempt in range(START_ATTEMPTS):
        try:
            ray.init(
                address="local",
                num_cpus=found.cpus if cpus is not None else None,
                num_gpus=int(found.gpus),  # those that torch can use
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
        except Exception as error:  # Ray has no narrower kind for this
            if "timed out" not in str(error):
                raise
            ray.shutdown()
            if attempt + 1 == START_ATTEMPTS:
                reason = str(error).splitlines()[0]
                raise WorkError(f"Ray does not start here, the machine may be too busy: {reason}") from error
        else:
            return


def _code_for_workers(modules: tuple[str, ...]) -> dict[str, Any] | None:
    """Runtime environment that gives this very package to workers of other machines, installed there or not.

    A job that was submitted with py_modules of its own has said what its workers get; Ray takes that. What lies in the
    working directory of a submitted job has been sent with it: sent again it could be lost, for Ray drops a package
    when the last job that uses it ends, even if the next one has just found it there.
    """
    job = os.environ.get(_JOB_VARIABLE, "")
    if "py_modules" in job:
        return None
    packages = [str(Path(pipeline.__file__).parent), *modules]
    if "working_dir" in job:
        packages = [path for path in packages if not Path(path).resolve().is_relative_to(Path.cwd().resolve())]
    return {"py_modules": packages} if packages else None


@contextmanager
def terminable() -> Iterator[None]:
    """While it lasts, a request to terminate stops the run as an interruption does. Ray's own answer is to abort."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can have it so
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
