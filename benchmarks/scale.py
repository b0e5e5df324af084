"""What the driver of a parse costs at ten million images: time, processor time and memory by phase, on a real Ray.

    python benchmarks/scale.py
    python benchmarks/scale.py --rows 100000,1000000,10000000 --rows-per-shard 500 --actors 50 --rate 200
    python benchmarks/scale.py --waits 20,200,1000,5000

The job is the product's own from first to last: manifest, binding, plan, folder, schedule, record, and a second run
that finds everything done. Only the workers pretend: an actor takes a shard, sleeps, puts an empty file where the shard
would be and answers as a real one does. They sleep so long that all of them together finish ``--rate`` shards a second;
the question is what the driver, and Ray's own processes beside it, need for that. Each size runs in a process of its
own, so that its peak of memory is its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from parse import install_cheap_parser, is_below, resident

from pipeline.datasets.manifest import MANIFEST_SCHEMA, read_manifest, write_manifest
from pipeline.ray_session import ray_session
from pipeline.shards.making import job
from pipeline.shards.making.folder import ShardFolder
from pipeline.shards.making.pool import WorkerPool
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import ShardSettings
from pipeline.shards.making.worker import ShardTask, WorkerSetup
from pipeline.shards.making.writer import LIBRARIES, ShardEntry

SAMPLE_SECONDS = 0.05
AT_ONCE = 2  # a worker has a second shard waiting; pretended ones sleep over both at the same time
ROW_GROUP = 64
WAITS = 10
WAIT_SECONDS = 0.1
OF_RAY = ("gcs_server", "raylet")
SECONDS_VARIABLE = "CCAF_PRETENDED_SECONDS"


class PretendedWorker:
    """Has the methods of :class:`pipeline.shards.making.worker.ShardWorker`, and does nothing in them but sleep."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._seconds = float(os.environ[SECONDS_VARIABLE])

    def prepare(self) -> None:
        """Nothing is built."""

    def check(self, task: ShardTask) -> ShardEntry:
        """As if the file had been read and found whole."""
        return self._entry(task)

    def make(self, task: ShardTask) -> ShardEntry:
        """As if its images had been parsed."""
        time.sleep(self._seconds)
        place = self._setup.out.local
        assert place is not None, "the benchmark writes to this machine"
        (place / task.name).touch()
        return self._entry(task)

    def images_done(self) -> int:
        """None of a shard that is not finished."""
        return 0

    def _entry(self, task: ShardTask) -> ShardEntry:
        rows = len(task.rows)
        digest = task.name.encode().hex().rjust(64, "0")[-64:]
        return ShardEntry(
            task.name, rows, 20_000 * rows, digest, digest, {"train": rows}, {"fragmented": rows // 50}, (),
            dict.fromkeys(LIBRARIES, "1.0"),
        )  # fmt: skip


class PretendedCall:
    """Something to wait for."""

    def sleep(self) -> None:
        """Never done while anybody waits."""
        time.sleep(3600)


def processor_seconds(process: Path) -> float:
    """Of a process by its folder in /proc; 0 if it has gone."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_processes(begin: bytes) -> list[Path]:
    """Folders in /proc of the processes below this one whose command line has ``begin`` in its first words."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if begin in (process / "cmdline").read_bytes()[:200] and is_below(process):
                found.append(process)
        except OSError:  # it has gone
            continue
    return found


def private_megabytes(process: Path) -> float:
    """Memory of a process, what it shares with others counted in part; 0 if it has gone."""
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("Pss:")), 0.0)


@dataclass
class Phases:
    """Seconds, processor seconds of this process and its most memory, by phase; a phase may come several times."""

    found: dict[str, dict[str, float]] = field(default_factory=dict)
    _peak: float = 0.0

    @contextmanager
    def sampled(self) -> Iterator[None]:
        """Watch the memory until the end of the block."""
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                self._peak = max(self._peak, resident(Path("/proc/self")))

        watcher = threading.Thread(target=sample)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a block."""
        self._peak = resident(Path("/proc/self"))
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            here = self.found.setdefault(name, {"seconds": 0.0, "processor": 0.0, "peak_megabytes": 0.0})
            here["seconds"] += time.perf_counter() - wall
            here["processor"] += time.process_time() - processor
            here["peak_megabytes"] = max(here["peak_megabytes"], self._peak, resident(Path("/proc/self")))

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Measure every call of a function of the product from now on."""
        original: Callable[..., Any] = getattr(owner, method)

        @wraps(original)
        def watched(*arguments: Any, **named: Any) -> Any:
            with self.phase(name):
                return original(*arguments, **named)

        setattr(owner, method, watched)


def make_manifest(rows: int) -> pa.Table:
    """A manifest of so many rows, with paths of a usual length."""
    numbers = np.arange(rows)
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0")
    path = pc.binary_join_element_wise("bounding_box_train/", digits, ".jpg", "")
    split = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["train"])).cast(pa.string())
    columns = [
        pc.binary_join_element_wise(split, path, "/"), path, split, pa.array(numbers // 20),
        pa.array((numbers % 6).astype(np.int32)), pa.array(numbers // 10), pa.nulls(rows, pa.int64()),
    ]  # fmt: skip
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def watch_product(phases: Phases) -> None:
    """Measure the product's own functions."""
    for name in ("check_image_ids", "bind_content", "plan_shards", "write_quarantine", "write_record"):
        phases.watch(job, name, name)
    phases.watch(job._Shards, "check", "check")
    phases.watch(job._Shards, "make", "make")
    phases.watch(ShardFolder, "prune", "prune")
    phases.watch(WorkerPool, "wait", "first worker")


def of_ray() -> dict[str, float]:
    """Processor seconds so far of Ray's own processes here, by name."""
    return {name: sum(map(processor_seconds, own_processes(name.encode()))) for name in OF_RAY}


def measure(rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """One size, in this process."""
    phases = Phases()
    with tempfile.TemporaryDirectory() as name, phases.sampled():
        folder = Path(name)
        install_cheap_parser(folder)
        write_manifest(make_manifest(rows), folder / "manifest.parquet")
        base = resident(Path("/proc/self"))
        with phases.phase("read manifest"):
            manifest = read_manifest(folder / "manifest.parquet")
        held = manifest.nbytes / 1e6
        shards = -(-rows // options.rows_per_shard)
        seconds = AT_ONCE * options.actors / options.rate
        os.environ[SECONDS_VARIABLE] = str(seconds)
        watch_product(phases)
        job.WorkerPool = partial(WorkerPool, worker=PretendedWorker)  # type: ignore[attr-defined, assignment]
        settings = ShardSettings(parser="cheap", shard_rows=options.rows_per_shard, row_group_rows=ROW_GROUP)
        run = RunSettings(workers=options.actors, device="cpu")
        work = partial(job.run_job, "scale", manifest, folder, folder / "out", settings, run, quiet=True)
        with ray_session(None, options.actors):
            before = of_ray()
            with phases.phase("whole run"):
                timings = work().timings
            ray = {name: value - before[name] for name, value in of_ray().items()}
            first = {key: dict(value) for key, value in phases.found.items()}
            phases.found.clear()
            if options.resume:
                with phases.phase("whole run"):
                    again = work().timings
                assert again.shards_made == 0, "the second run was to find everything done"
            actors = [private_megabytes(process) for process in own_processes(b"ray::")]
    made = first["make"]
    return {
        "rows": rows,
        "shards": shards,
        "actors": options.actors,
        "shards_per_second": round(shards / timings.parse_seconds, 1),
        "driver_ms_per_shard": round(1000 * made["processor"] / shards, 3),
        "driver_cores_at_rate": round(options.rate * made["processor"] / shards, 3),
        "ray_ms_per_shard": {name: round(1000 * value / shards, 3) for name, value in ray.items()},
        "actor_megabytes": round(max(actors, default=0.0), 1),
        "base_megabytes": round(base),
        "manifest_megabytes": round(held),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "first_run": rounded(first),
        "second_run": rounded(phases.found),
    }


def measure_waits(counts: list[int]) -> dict[str, Any]:
    """Processor milliseconds of one wait of the pool's for one of so many calls, none of which is done."""
    import ray

    found = {}
    with ray_session(None, 1):
        for count in counts:
            actor = ray.remote(PretendedCall).remote()
            calls = [actor.sleep.remote() for _ in range(count)]
            before = time.process_time()
            for _ in range(WAITS):
                ray.wait(calls, num_returns=1, timeout=WAIT_SECONDS)
                ray.wait(calls, num_returns=len(calls), timeout=0)
            found[str(count)] = round(1000 * (time.process_time() - before) / WAITS, 3)
            ray.kill(actor)
    return {"references": counts, "milliseconds_of_a_wait": found}


def rounded(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Figures as they are printed."""
    return {name: {key: round(value, 3) for key, value in figures.items()} for name, figures in found.items()}


def main() -> None:
    """Measure and print one JSON object a size."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", default="100000,1000000,10000000", help="sizes, with commas between")
    arguments.add_argument("--rows-per-shard", type=int, default=500)
    arguments.add_argument("--actors", type=int, default=50)
    arguments.add_argument("--rate", type=float, default=200.0, help="shards a second that the workers would do")
    arguments.add_argument("--no-resume", dest="resume", action="store_false", help="leave out the second run")
    arguments.add_argument("--waits", default="", help="only this: waits for so many calls, with commas between")
    options = arguments.parse_args()
    if options.waits:
        print(json.dumps(measure_waits([int(count) for count in options.waits.split(",")])))
        return
    sizes = [int(float(rows)) for rows in options.rows.split(",")]
    if len(sizes) == 1:
        print(json.dumps(measure(sizes[0], options), indent=2))
        return
    for rows in sizes:
        others = ["--rows-per-shard", options.rows_per_shard, "--actors", options.actors, "--rate", options.rate]
        words = [*map(str, others), *([] if options.resume else ["--no-resume"])]
        subprocess.run([sys.executable, __file__, "--rows", str(rows), *words], check=True)


if __name__ == "__main__":
    main()
