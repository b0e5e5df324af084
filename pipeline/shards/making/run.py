"""How a parse job runs, which decides no byte of the shards, and how it went."""

from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.ray_session import Resources


@dataclass(frozen=True)
class RunSettings:
    """How a job runs. Address, workers, batches, restarts and time-out change no byte of the shards.

    The number of threads and the kind of device can change the last bits of a network's sums, as they choose other
    kernels; so the default number of threads does not depend on the machine.

    Attributes:
        address: Of a Ray cluster; None: a local one.
        workers: Number of workers; 0: as many as the cluster has room for.
        device: ``auto`` (CUDA where the cluster has GPUs), ``cpu`` or ``cuda``.
        threads: CPU threads of the network in a worker.
        io_threads: Threads of a worker that read and decode, and as many that encode.
        batch_size: Images handed to the parser at once.
        bucket_batches: Batches from whose images those of similar size are put together; 1: as they come.
        gpus_per_worker: GPUs, or the fraction of one, for a worker on CUDA.
        restarts: How often one shard may cost a worker's life before the job fails.
        shard_timeout: Seconds after which a worker that makes one shard is taken for hung; 0: never.
    """

    address: str | None = None
    workers: int = 0
    device: str = "auto"
    threads: int = 1
    io_threads: int = 2
    batch_size: int = 16
    bucket_batches: int = 4
    gpus_per_worker: float = 1.0
    restarts: int = 3
    shard_timeout: float = 0.0


@dataclass(frozen=True)
class Timings:
    """How a run went; the only part of the record that differs between two runs over the same images.

    Attributes:
        startup_seconds: From the call until the first worker was ready.
        check_seconds: Then, checking the shards of an earlier run.
        parse_seconds: Then, until the last shard was committed.
        images: Images worked on in this run, the quarantined included.
        shards_made: Shards made in this run.
        shards_reused: Shards of an earlier run.
        workers: Workers used.
        workers_lost: Workers that crashed, hung or went with their node, and were replaced.
        threads: CPU threads of the network in each.
        device: ``cpu`` or ``cuda``.
    """

    startup_seconds: float
    check_seconds: float
    parse_seconds: float
    images: int
    shards_made: int
    shards_reused: int
    workers: int
    workers_lost: int
    threads: int
    device: str

    @property
    def images_per_second(self) -> float:
        """Images a second without the start-up; 0 if there was nothing to do."""
        return self.images / self.parse_seconds if self.images and self.parse_seconds else 0.0


def choose_workers(resources: Resources, run: RunSettings, shards: int) -> tuple[str, int]:
    """Device and number of workers for a cluster.

    Raises:
        InputError: CUDA is asked for and the cluster has no GPU; or no machine has the CPUs of one worker.
    """
    cuda = run.device.startswith("cuda") or (run.device == "auto" and resources.gpus > 0)
    if cuda and resources.gpus <= 0:
        raise InputError(f"device {run.device} is asked for, but Ray finds no GPU; use --set device=cpu")
    if 0 < resources.node_cpus < run.threads:  # 0: the workers' machines are still to come
        raise InputError(
            f"a worker of {run.threads} threads fits on no machine of the cluster; the largest has "
            f"{resources.node_cpus} CPUs: choose fewer --threads"
        )
    if cuda and 1 < run.gpus_per_worker > resources.gpus:
        raise InputError(f"a worker takes {run.gpus_per_worker:g} GPUs, and Ray finds {resources.gpus:g}")
    room = int(resources.gpus / run.gpus_per_worker) if cuda else resources.cpus // run.threads
    return "cuda" if cuda else "cpu", max(1, min(run.workers or room, shards))
