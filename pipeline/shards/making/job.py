"""The parse job: plan, bind the folder, reuse what is committed, make the rest on Ray, write quarantine and record."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

import pyarrow as pa

import pipeline
from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError, PipelineError, WorkError
from pipeline.location import Location, Place, locate
from pipeline.progress import Progress
from pipeline.ray_session import check_reachable, is_started_here, local_resources, ray_session
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.folder import ShardFolder, open_folder
from pipeline.shards.making.placement import choose_device, choose_workers
from pipeline.shards.making.plan import ShardSpec, check_image_ids, plan_shards, rows_of
from pipeline.shards.making.pool import WorkerPool
from pipeline.shards.making.run import RunSettings, Timings, least_cpus
from pipeline.shards.making.settings import ShardSettings
from pipeline.shards.making.worker import ShardTask, WorkerSetup, check_parser_device, identify
from pipeline.shards.making.writer import ShardEntry, write_quarantine
from pipeline.shards.record import Record, build_versions, read_record, write_record


@dataclass(frozen=True)
class JobResult:
    """What a job did: the shard folder, its record, and how this run went."""

    folder: Location
    record: Record
    timings: Timings


def _known_hashes(folder: Location) -> dict[str, str]:
    """What an earlier record says of the shards; nothing if there is none that can be read."""
    try:
        return {shard.name: shard.sha256 for shard in read_record(folder).shards}
    except InputError:
        return {}


def _versions(entries: Sequence[ShardEntry]) -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "ccaf-pipeline": pipeline.__version__,
        "ray": version("ray"),
        **build_versions(entries),
    }


class _Shards:
    """The shards of a plan in the folder that they belong to."""

    def __init__(self, manifest: pa.Table, specs: list[ShardSpec], folder: ShardFolder) -> None:
        self.specs = specs
        self._manifest = manifest
        self._folder = folder

    def _tasks(self, specs: Sequence[ShardSpec], hashes: dict[str, str]) -> Iterator[ShardTask]:
        """Drawn one by one as workers are free, so that memory does not grow with the data set."""
        for spec in specs:
            yield ShardTask(spec.name, rows_of(self._manifest, spec), hashes.get(spec.name))

    def check(self, pool: WorkerPool, quiet: bool) -> dict[str, ShardEntry]:
        """Entries of those committed shards that can be kept."""
        committed = set(self._folder.committed([spec.name for spec in self.specs]))
        specs = [spec for spec in self.specs if spec.name in committed]
        kept: dict[str, ShardEntry] = {}
        if not specs:
            return kept
        hashes = _known_hashes(self._folder.work)
        with Progress(len(specs), "check", "shard", quiet=quiet) as progress:
            for task, entry in pool.run("check", self._tasks(specs, hashes), lambda _: None):
                if entry is not None:
                    kept[task.name] = entry
                progress.advance()
        return kept

    def make(self, pool: WorkerPool, specs: Sequence[ShardSpec], quiet: bool) -> dict[str, ShardEntry]:
        """Make shards; the progress line counts images."""
        made: dict[str, ShardEntry] = {}
        if not specs:
            return made
        self._folder.invalidate()
        finished = shown = bad = 0
        with Progress(sum(spec.rows for spec in specs), "parse", "image", quiet=quiet) as progress:

            def report(under_way: int) -> None:
                nonlocal shown
                step = max(0, finished + under_way - shown)
                shown += step
                progress.advance(step, f"{len(made)}/{len(specs)} shards, {bad} quarantined")

            for task, entry in pool.run("make", self._tasks(specs, {}), report):
                made[task.name] = entry
                finished += len(task.rows)
                bad += len(entry.quarantine)
                report(0)
        return made


@contextmanager
def _explained(folder: ShardFolder, names: list[str], say: Callable[[str], None]) -> Iterator[None]:
    """Say what is kept when a run is interrupted, and turn a failure to write into one line."""
    try:
        yield
    except KeyboardInterrupt:
        done = len(folder.committed(names))
        say(f"stopped: {done} of {len(names)} shards are committed in {folder.work}")
        raise
    except PipelineError:
        raise
    except OSError as error:
        raise WorkError(
            f"{folder.work} cannot be written: {error.strerror or error}; shards that are committed are kept, "
            f"so the same command goes on from them"
        ) from error


def _absolute(location: Location) -> Location:
    """Workers have other current folders."""
    return location if location.local is None else locate(location.local.resolve())


def run_job(
    dataset: str,
    manifest: pa.Table,
    images: Place,
    out: Place,
    settings: ShardSettings,
    run: RunSettings,
    overwrite: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda _: None,
    facts: DatasetFacts | None = None,
    program: str | None = None,
) -> JobResult:
    """Parse a data set into a shard folder. Interrupted or killed at any moment, the next call finishes it.

    Args:
        dataset: Name of the data set.
        manifest: Its manifest.
        images: Folder that relative paths of the manifest are relative to, local or remote.
        out: The shard folder, local or remote.
        settings: What decides the bytes of the shards.
        run: Where and how to run.
        overwrite: Replace shards of other content or of another program, once the new ones are complete.
        quiet: No progress lines.
        say: Receives remarks for the user.
        facts: Of the data set, for the record: later commands need no other description of it.
        program: What identifies the program that makes the shards; None: any program counts as the same.

    Raises:
        InputError: Parser, settings, device, manifest or cluster are wrong; or ``out`` holds shards of other content.
        WorkError: A worker could not do its work; what is committed is kept.
        KeyboardInterrupt: It was interrupted; the same holds.
    """
    started = time.monotonic()
    check_reachable(run.address)
    check_image_ids(manifest)
    content, provenance = bind_content(dataset, manifest, settings, identify(settings))
    specs = plan_shards(manifest.num_rows, settings.shard_rows, settings.row_group_rows)
    if is_started_here(run.address):  # so that nothing is started for a device that will not do
        check_parser_device(settings, choose_device(local_resources(least_cpus(run)), run))
    names = [spec.name for spec in specs]
    with (
        open_folder(out, provenance.fingerprint, content, names, overwrite, program) as folder,
        _explained(folder, names, say),
    ):
        if folder.of_other_program:
            say(f"{folder.final} was begun by another version of the program; --overwrite makes its shards again")
        setup = WorkerSetup(
            settings=settings,
            provenance=provenance,
            images=_absolute(locate(images)),
            out=folder.work,
            threads=run.threads,
            work=run.work,
        )
        found, timings = _work(_Shards(manifest, specs, folder), setup, run, started, quiet, say)
        folder.prune(names)
        entries = [found[name] for name in names]
        write_quarantine(folder.work, [row for entry in entries for row in entry.quarantine])
        record = write_record(
            folder.work,
            provenance.fingerprint,
            dataset,
            content,
            _versions(entries),
            entries,
            asdict(timings),
            None if facts is None else facts.model_dump(mode="json"),
        )
        folder.finish()
    return JobResult(folder.final, record, timings)


def _work(
    shards: _Shards, setup: WorkerSetup, run: RunSettings, started: float, quiet: bool, say: Callable[[str], None]
) -> tuple[dict[str, ShardEntry], Timings]:
    """On Ray: check what is committed, make the rest; entries by file name."""
    with ray_session(run.address, least_cpus(run)) as resources:
        placement = choose_workers(resources, run, len(shards.specs))
        check_parser_device(setup.settings, placement.device)
        setup = replace(setup, device=placement.device)
        pool = WorkerPool(
            setup, placement.workers, placement.gpus, run.work.restarts, run.work.shard_timeout, say, placement.most
        )
        with closing(pool):
            pool.wait()
            ready = time.monotonic()
            kept = shards.check(pool, quiet)
            if kept:
                say(f"reusing {len(kept)} of {len(shards.specs)} shards in {setup.out}")
            missing = [spec for spec in shards.specs if spec.name not in kept]
            checked = time.monotonic()
            made = shards.make(pool, missing, quiet)
            timings = Timings(
                startup_seconds=round(ready - started, 3),
                check_seconds=round(checked - ready, 3),
                parse_seconds=round(time.monotonic() - checked, 3),
                images=sum(spec.rows for spec in missing),
                shards_made=len(made),
                shards_reused=len(kept),
                workers=pool.peak if placement.most else placement.workers,
                workers_lost=pool.lost,
                threads=run.threads,
                device=placement.device,
            )
    return kept | made, timings
