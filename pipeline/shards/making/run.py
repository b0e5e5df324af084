"""How a parse job runs, which decides no byte of the shards, and how it went."""

from dataclasses import dataclass, field

from pipeline.errors import InputError
from pipeline.shards.making.settings import WorkSettings


@dataclass(frozen=True)
class RunSettings:
    """Where and how a job runs. Address, workers and the group ``work`` change no byte of the shards.

    The number of threads and the kind of device can change the last bits of a network's sums, as they choose other
    kernels; so the default number of threads does not depend on the machine.

    Attributes:
        address: Of a Ray cluster; None: a local one.
        workers: Number of workers; 0: as many as the cluster has room for.
        device: ``auto`` (CUDA where the cluster has GPUs), ``cpu``, ``cuda`` (the GPUs that Ray gives each worker), or
            one GPU of this machine, such as ``cuda:1``.
        threads: CPU threads of the network in a worker.
        work: How the workers go about it.
        most_workers: Number that the workers may grow to as the cluster has room; 0: their number stays.
    """

    address: str | None = None
    workers: int = 0
    device: str = "auto"
    threads: int = 1
    work: WorkSettings = field(default_factory=WorkSettings)
    most_workers: int = 0


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
        workers: Workers used; if their number could grow, the most that there were at once.
        workers_lost: Workers that crashed, hung, went with their node or could not be trusted, and were replaced.
        threads: CPU threads of the network in each.
        device: ``cpu``, ``cuda``, or one GPU such as ``cuda:1``.
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


def read_workers(text: str) -> tuple[int, int]:
    """Least and most number of workers that an option says: ``4`` is 4 and 0, and ``4:32`` is 4 and 32.

    Raises:
        InputError: It is neither a number nor a range of them.
    """
    least, colon, most = text.partition(":")
    if not (least.isascii() and least.isdecimal() and (not colon or (most.isascii() and most.isdecimal()))):
        raise InputError(f"--workers {text}: give a number, such as 4, or the least and the most number, such as 4:32")
    if not colon:
        return int(least), 0
    if int(least) < 1:
        raise InputError(f"--workers {text}: the least number must be 1 or more, such as 1:{max(1, int(most))}")
    if int(most) < int(least):
        raise InputError(f"--workers {text}: the most number is below the least; did you mean {most}:{least}?")
    return int(least), int(most) if int(most) > int(least) else 0


def least_cpus(run: RunSettings) -> int | None:
    """CPUs that a cluster which is started for a run has at the least; None: as many as the machine."""
    least = max(run.workers, 1) * run.threads
    return least if least > 1 else None
