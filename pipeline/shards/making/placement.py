"""Where the workers of a parse job run, and how many of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.gpu_memory import smallest_gpu_bytes
from pipeline.ray_session import Resources
from pipeline.shards.making.run import RunSettings

BYTES_ON_A_GPU = 7_500_000_000
"""Of a GPU's memory for each worker: a copy of the parser, what it computes with, and CUDA itself, on the safe side."""

MOST_ON_A_GPU = 4
"""Workers on one GPU; they take turns on it, so that more of them only cost memory."""

SMALLEST_SHARE = 0.0001
"""Ray counts GPUs in such steps."""


@dataclass(frozen=True)
class Placement:
    """Where the workers of a job run.

    Attributes:
        device: Torch device string of each worker: ``cpu``, ``cuda``, or one GPU such as ``cuda:1``.
        workers: Their number.
        gpus: GPUs that Ray sets aside for each, or the fraction of one; 0 on the CPU, and where one GPU is named.
        most: Number that they may grow to; 0: their number stays.
    """

    device: str
    workers: int
    gpus: float
    most: int = 0


def choose_device(resources: Resources, run: RunSettings) -> str:
    """Torch device string of each worker.

    Raises:
        InputError: The device is none that parsing runs on, or the cluster has no such GPU, or not as many as a worker
            takes.
    """
    kind, _, number = run.device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise InputError(f"device {run.device!r}: parsing runs on auto, cpu, cuda, or one GPU such as cuda:1")
    cuda = kind == "cuda" or (kind == "auto" and resources.gpus > 0)
    if cuda and resources.gpus <= 0:
        raise InputError(f"device {run.device!r} cannot be used here: Ray finds no GPU; use --set device=cpu")
    if cuda and 1 < run.work.gpus_per_worker > resources.gpus:
        raise InputError(f"a worker takes {run.work.gpus_per_worker:g} GPUs, and Ray finds {resources.gpus:g}")
    if number:
        _check_named(resources, run, int(number))
        return run.device
    return "cuda" if cuda else "cpu"


def choose_workers(
    resources: Resources, run: RunSettings, shards: int, gpu_bytes: Callable[[str | None], int] = smallest_gpu_bytes
) -> Placement:
    """Device and number of workers for a cluster.

    Args:
        resources: What the cluster has.
        run: How the job is to run.
        shards: Number of shards; more workers than that are not started.
        gpu_bytes: From the cluster's address to the memory of its smallest GPU; asked only where that decides.

    Raises:
        InputError: As :func:`choose_device`; or no machine has the CPUs of one worker.
    """
    device = choose_device(resources, run)
    if 0 < resources.node_cpus < run.threads:  # 0: the workers' machines are still to come
        raise InputError(
            f"a worker of {run.threads} threads fits on no machine of the cluster; the largest has "
            f"{resources.node_cpus} CPUs: choose fewer --threads"
        )
    if device == "cpu":
        gpus, room = 0.0, resources.cpus // run.threads
    else:
        named = device != "cuda"
        there = 1.0 if named else resources.gpus
        share = _share_of_gpu(resources, run, there, gpu_bytes)
        gpus, room = (0.0 if named else share), int(there / share) if share > 1 else int(there) * int(1 / share)
    workers = max(1, min(run.workers or room, shards))
    most = min(run.most_workers, shards)
    return Placement(device, workers, gpus, most if most > workers else 0)


def _share_of_gpu(resources: Resources, run: RunSettings, gpus: float, gpu_bytes: Callable[[str | None], int]) -> float:
    """GPUs for each worker, or the fraction of one, where there are ``gpus`` of them for all.

    What is set counts. Else workers whose number is given share the GPUs of this machine; in a cluster, which may grow
    for them, each has a GPU. Where the number is open, or may grow, a GPU gets as many as keep it busy.
    """
    if run.work.gpus_per_worker:
        return run.work.gpus_per_worker
    if run.workers and run.address is not None:
        return 1.0
    at_once = math.ceil(run.workers / gpus)
    if not run.workers or run.most_workers:
        at_once = max(at_once, _on_a_gpu(resources, run, gpu_bytes))
    steps = 1 / SMALLEST_SHARE
    return max(math.floor(steps / max(1, at_once)), 1) / steps


def _on_a_gpu(resources: Resources, run: RunSettings, gpu_bytes: Callable[[str | None], int]) -> int:
    """Workers that keep one GPU busy, 0 if not even one does.

    A worker's threads decode and encode on the CPU, so each needs a CPU beside the GPU; and the GPU's memory must hold
    all of them.
    """
    cpus = max(run.threads, 2 * run.work.io_threads)
    fed = min(int(resources.cpus_per_gpu / cpus), MOST_ON_A_GPU)
    return min(fed, gpu_bytes(run.address) // BYTES_ON_A_GPU) if fed > 1 else fed


def _check_named(resources: Resources, run: RunSettings, number: int) -> None:
    """Check that a GPU which is named by its number is there. The number means something on one machine only."""
    if run.address is not None:
        raise InputError(
            f"device {run.device!r} names a GPU of one machine, but the cluster at {run.address} may have several; "
            f"use --set device=cuda: Ray gives each worker a GPU"
        )
    if number >= resources.gpus:
        raise InputError(
            f"device {run.device!r} cannot be used here: Ray finds {resources.gpus:g} GPUs, which are counted from 0"
        )
