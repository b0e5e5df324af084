"""Ray: a quiet session on a local or a remote cluster, what it has, and whether it is still alive.

Every command that uses Ray starts or joins it here, so that all say the same when it cannot be had.
"""

import importlib
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline
from pipeline.errors import InputError, WorkError
from pipeline.ray_address import ADDRESS_VARIABLE, check_address, shortened

OBJECT_STORE_BYTES = 128 * 1024 * 1024  # shards never pass through it: tasks and entries are small

START_ATTEMPTS = 2

_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would otherwise report usage to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default, without its warning
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # restarts of workers would be told on standard output
}
"""What Ray reads from its environment when it starts; a user's own setting wins."""

_BINDING_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_LOCAL_ENVIRONMENT = {
    _BINDING_VARIABLE: "0",  # no other machine joins: Ray binds to the loopback interface
}
_JOINING_ENVIRONMENT = {
    "RAY_NUM_REDIS_GET_RETRIES": "3",  # of half a minute each, to reach what has answered as a cluster does
}

_TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

_TEMPORARY_VARIABLE = "RAY_TMPDIR"
_SHORT_TEMPORARY = "/tmp"  # where Ray itself puts its folder without TMPDIR
_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
_LONGEST_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.10"
"""Of Ray's sockets below the temporary folder; their whole path must fit into ``_SOCKET_BYTES``."""

_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the process that ``ray job submit`` starts; it holds the runtime environment of the job."""


def default_address() -> str | None:
    """The cluster that the user's environment names; None: a local one is to be started."""
    named = os.environ.get(ADDRESS_VARIABLE, "")
    return None if named in ("", "local") else named


@dataclass(frozen=True)
class Resources:
    """What a Ray cluster has.

    Attributes:
        cpus: In all.
        gpus: In all, but for nodes without a CPU, on which no worker can run.
        node_cpus: Of the node that has most.
        cpus_per_gpu: Of the node that has fewest for each of its GPUs; 0 without GPUs.
    """

    cpus: int
    gpus: float
    node_cpus: int
    cpus_per_gpu: float = 0.0


def local_resources(cpus: int | None = None) -> Resources:
    """What a cluster that is started on this machine has; nothing is started, and no GPU is touched.

    Args:
        cpus: CPUs at the least; None: those of the machine.
    """
    import torch

    count = max(cpus or 1, len(os.sched_getaffinity(0)))
    gpus = torch.cuda.device_count()
    return Resources(cpus=count, gpus=float(gpus), node_cpus=count, cpus_per_gpu=count / gpus if gpus else 0.0)


def is_open() -> bool:
    """Whether this process has a session already, which :func:`ray_session` would use."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def is_started_here(address: str | None) -> bool:
    """Whether a session with this address starts a cluster on this machine, rather than joins one that is there."""
    return address is None and not is_open()


def check_reachable(address: str | None) -> None:
    """Check, within seconds and without starting anything, that :func:`ray_session` can work with this address.

    Args:
        address: As for :func:`ray_session`.

    Raises:
        InputError: No cluster answers at the address, it is of another kind, or a local Ray has no room for its files.
    """
    if is_open():
        return
    if address is None:
        _temporary_folder()
    else:
        check_address(address)


@contextmanager
def ray_session(address: str | None, cpus: int | None = None, modules: tuple[str, ...] = ()) -> Iterator[Resources]:
    """Connect to a Ray cluster, or start a quiet local one; leave it at the end. A session that is open is used.

    A local one listens on the loopback interface only and, where Ray can, asks for a token that this process makes.
    Ray's own answer to SIGTERM, which aborts the process, is undone.

    Args:
        address: Of a cluster (``auto``: the one of this machine); None: start a local one.
        cpus: CPUs of a local one at the least; None: those of the machine.
        modules: Folders of packages that the workers of a cluster get besides this one.

    Raises:
        InputError: No cluster answers there or it refuses to be joined; or a local one has no room for its files.
        WorkError: A local one does not start.
    """
    check_reachable(address)
    if is_open():
        yield _find_resources()
        return
    with _environment(local=address is None):
        import ray

        try:
            with _handler_of_termination_kept():
                if address is None:
                    _start(cpus)
                else:
                    _join(address, modules)
            yield _find_resources()
        finally:
            ray.shutdown()


def check_alive() -> None:
    """Check that the session's Ray still runs on this machine; it takes milliseconds.

    Raises:
        WorkError: It does not; nothing that is waited for will ever come.
    """
    import ray

    node = ray._private.worker._global_node
    dead = [kind for kind, _ in node.dead_processes()] if node is not None else []
    if not dead:
        if node is not None and node.is_head():
            return  # all of this Ray is ours; asked for its nodes, one that has just died would keep us waiting
        here = ray.get_runtime_context().get_node_id()
        if any(found["NodeID"] == here and found["Alive"] for found in ray.nodes()):
            return
        dead = ["raylet"]
    raise WorkError(
        f"Ray has ended on this machine ({', '.join(sorted(set(dead)))} died): was it killed, or is there too little "
        f"memory? Run the same command again to go on"
    )


def leaving_nodes() -> frozenset[str]:
    """Ids of the nodes that their cluster asks to leave, such as one that its cloud takes back in a minute or two."""
    import ray

    ask = getattr(ray._private.state.state, "get_draining_nodes", None)  # older releases of Ray do not tell
    return frozenset(ask()) if ask is not None else frozenset()


@contextmanager
def _environment(local: bool) -> Iterator[None]:
    """Within the block Ray and its processes find what they are to read in the environment.

    It is put back at the end: the token and the interface of a local session are wrong for a cluster that is joined
    next, which would take this process for dead.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    try:
        _set_environment(local)
        _read_environment_anew()
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_") and name not in before]:
            del os.environ[name]
        os.environ.update(before)
        _read_environment_anew()


def _set_environment(local: bool) -> None:
    for name, value in {**_RAY_ENVIRONMENT, **(_LOCAL_ENVIRONMENT if local else _JOINING_ENVIRONMENT)}.items():
        os.environ.setdefault(name, value)
    if local and not any(name in os.environ for name in _TOKEN_VARIABLES):
        # one of our own: Ray would write its token into the home folder, which may not be writable
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def _read_environment_anew() -> None:
    """Make Ray see the interface and the token that the environment says now; it reads both only once by itself."""
    from ray._private import ray_constants

    said = os.environ.get(_BINDING_VARIABLE, "1" if sys.platform == "linux" else "0")
    ray_constants.ENABLE_RAY_CLUSTER = said.lower() in ("1", "true")
    with suppress(ImportError, AttributeError):  # a Ray before the tokens has nothing to be read anew
        raylet: Any = importlib.import_module("ray._raylet")  # compiled, without types
        raylet.Config.initialize("")  # first: a token that is missing in a mode that asks for one ends the process
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def _temporary_folder() -> str | None:
    """The short folder that must take the place of TMPDIR for the sockets of a local Ray; None: none is needed.

    Raises:
        InputError: The folder that the user names for Ray is too long.
    """
    room = _SOCKET_BYTES - len(_LONGEST_SOCKET)
    named = os.environ.get(_TEMPORARY_VARIABLE)
    if named is not None:
        if len(os.fsencode(named)) > room:
            raise InputError(
                f"{_TEMPORARY_VARIABLE}={named} is too long for the paths of Ray's sockets, by "
                f"{len(os.fsencode(named)) - room} bytes: set {_TEMPORARY_VARIABLE} to a folder of at most {room}, "
                f"such as {_SHORT_TEMPORARY}"
            )
        return None
    return _SHORT_TEMPORARY if len(os.fsencode(os.environ.get("TMPDIR", ""))) > room else None


def _find_resources() -> Resources:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if _may_use_gpu(node)]
    return Resources(
        cpus=max(1, int(sum(node.get("CPU", 0) for node in nodes))),
        gpus=float(sum(node["GPU"] for node in with_gpus)),
        node_cpus=int(max((node.get("CPU", 0) for node in nodes), default=0)),
        cpus_per_gpu=min((node["CPU"] / node["GPU"] for node in with_gpus), default=0.0),
    )


def gpu_nodes() -> list[dict[str, Any]]:
    """The session's nodes on which a worker can use a GPU, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and _may_use_gpu(node["Resources"])]


def _may_use_gpu(found: Mapping[str, float]) -> bool:
    return bool(found.get("GPU")) and found.get("CPU", 0) >= 1


_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


def _join(address: str, modules: tuple[str, ...]) -> None:
    import ray

    try:
        ray.init(address=address, runtime_env=_code_for_workers(modules), **_QUIET)
    except Exception as error:  # of many kinds: no answer, another version, a token that is missing
        ray.shutdown()
        raise InputError(f"the Ray cluster at {address} cannot be joined: {shortened(error)}") from error


def _start(cpus: int | None) -> None:
    """Start a local cluster; a busy machine gets a second chance, for Ray waits only half a minute for itself."""
    import ray

    short = _temporary_folder()
    if short is not None:
        os.environ[_TEMPORARY_VARIABLE] = short
    found = local_resources(cpus)
    for attempt in range(START_ATTEMPTS):
        try:
            ray.init(
                address="local",
                num_cpus=found.cpus if cpus is not None else None,
                num_gpus=int(found.gpus),  # those that torch can use
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **_QUIET,
            )
        except Exception as error:  # Ray has no narrower kind for this
            ray.shutdown()
            if "timed out" in str(error) and attempt + 1 < START_ATTEMPTS:
                continue
            hint = "the machine may be too busy"
            if isinstance(error, OSError) and not isinstance(error, TimeoutError | ConnectionError):
                hint = f"Ray needs a folder for its files: set {_TEMPORARY_VARIABLE} to a short one that can be written"
            raise WorkError(f"Ray does not start here: {shortened(error)}; {hint}") from error
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
def _handler_of_termination_kept() -> Iterator[None]:
    """Undo what the block does to the handler of SIGTERM: Ray's own ends the process in the middle of anything."""
    before = signal.getsignal(signal.SIGTERM)
    heard = False
    try:
        yield
    except SystemExit:  # of Ray's handler
        heard = True
    finally:
        if threading.current_thread() is threading.main_thread():  # only the main thread can set one
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
    if heard:
        signal.raise_signal(signal.SIGTERM)
        raise KeyboardInterrupt  # where nobody else answers it
