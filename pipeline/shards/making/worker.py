"""What runs in one worker process of a parse: checking and making whole shards. It knows nothing of scheduling."""

import os
import platform
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.manifest import ManifestRow
from pipeline.device_faults import is_device_fault
from pipeline.errors import InputError, WorkError
from pipeline.location import Location
from pipeline.parsing.parser import Identity, Parser
from pipeline.ray_session import is_open
from pipeline.shards.making.counters import WorkerCounters
from pipeline.shards.making.faults import PARSER_FAILED, device_fault
from pipeline.shards.making.folder import bound_fingerprint
from pipeline.shards.making.maker import ShardMaker
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.sources import add_parser_digest, read_source, sources_sha256
from pipeline.shards.making.writer import QuarantineRow, ShardEntry, describe_shard
from pipeline.shards.schema import Provenance
from pipeline.storage import is_folder, local_copy

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is told when it starts.

    Attributes:
        settings: What decides the bytes of the shards.
        provenance: Goes into every shard.
        images: Folder that relative paths of the manifest are relative to.
        out: Folder that the shards are written to.
        threads: CPU threads of the network.
        work: How the worker goes about it.
        device: Torch device string of the parser.
    """

    settings: ShardSettings
    provenance: Provenance
    images: Location
    out: Location
    threads: int
    work: WorkSettings
    device: str = "cpu"


@dataclass(frozen=True)
class ShardTask:
    """One shard to check or to make.

    Attributes:
        name: File name.
        rows: Its part of the manifest.
        sha256: For a check: what an earlier record says of the file; None if there is no record.
        failed: Ids of images that another worker failed on; a fresh worker must try them.
    """

    name: str
    rows: Sequence[ManifestRow]
    sha256: str | None = None
    failed: frozenset[str] = frozenset()


def build_parser(settings: ShardSettings, device: str) -> Parser:
    """Build the parser that the settings name.

    Raises:
        InputError: There is no such parser, or its settings are wrong.
    """
    from pipeline.parsing.backends import load_backends
    from pipeline.parsing.parser import create_parser

    load_backends(settings.parser)
    return create_parser(settings.parser, device=device, **settings.settings)


def identify(settings: ShardSettings) -> Identity:
    """Scheme and weights of the parser that the settings name, whatever device the workers will have.

    Raises:
        InputError: There is no such parser, or its settings are wrong.
    """
    from pipeline.parsing.backends import load_backends
    from pipeline.parsing.parser import identify_parser

    load_backends(settings.parser)
    return identify_parser(settings.parser, **settings.settings)


def check_parser_device(settings: ShardSettings, device: str) -> None:
    """Check that the parser that the settings name can do on a device what they ask for; neither is touched.

    Raises:
        InputError: It cannot, such as precision fp16 on a CPU.
    """
    from pipeline.parsing.backends import load_backends
    from pipeline.parsing.parser import check_device

    load_backends(settings.parser)
    check_device(settings.parser, device, **settings.settings)


class ShardWorker:
    """Checks and makes shards; the parser is built at the first one that is made, or by :meth:`prepare`."""

    def __init__(self, setup: WorkerSetup) -> None:
        for variable in THREAD_VARIABLES:  # read by torch and others when they are first imported, which is later
            os.environ[variable] = str(setup.threads)
        import cv2

        cv2.setNumThreads(0)  # the pools are this worker's threads; OpenCV's own would take every core
        self._setup = setup
        self._maker: ShardMaker | None = None
        self._counters: WorkerCounters | None = None
        self._building = threading.Lock()
        self._arithmetic = ExitStack()

    def prepare(self) -> None:
        """Check that this machine sees the images and the output, and build the parser, so that no shard waits for it.

        Raises:
            InputError: The parser's settings are wrong on this machine.
            WorkError: The images or the output folder are not there on this machine, or the parser's weights are not
                those that the run was planned with.
            WorkerFaultError: The device failed, such as for lack of memory.
        """
        setup = self._setup
        self._check_images()
        if bound_fingerprint(setup.out) != setup.provenance.fingerprint:
            raise WorkError(
                f"{platform.node()} does not see the output folder {setup.out} of this run: "
                f"--out must lie on a file system that all machines of the cluster share"
            )
        self._get_maker()

    def check(self, task: ShardTask) -> ShardEntry | None:
        """The entry of a committed shard if it is whole, of this run's content, and of the images as they are now.

        Images that the parser failed on are tried again; a shard that lacks one which can be parsed now is not whole.

        Raises:
            WorkerFaultError: The device failed.
        """
        try:
            with local_copy(self._setup.out / task.name) as path:
                entry = replace(describe_shard(path), name=task.name)
                provenance = Provenance.from_metadata(pq.read_schema(path).metadata or {}, task.name)
        except (OSError, pa.ArrowException, InputError, ValueError):
            return None
        whole = entry.rows + len(entry.quarantine) == len(task.rows) and entry.sha256 == (task.sha256 or entry.sha256)
        if not whole or provenance != self._setup.provenance:
            return None
        if entry.sources_sha256 != self._hash_sources(task.rows):
            return None
        failed = {row.image_id for row in entry.quarantine if row.reason == PARSER_FAILED}
        again = [row for row in task.rows if row.image_id in failed]
        return None if again and self._get_maker().parses_any(again) else entry

    def make(self, task: ShardTask) -> ShardEntry:
        """Make and commit a shard.

        Raises:
            InputError, WorkError: As :meth:`prepare`; or the parser breaks its contract; or the folder of the images
                went away.
            WorkerFaultError: This worker cannot be trusted any more; nothing was committed.
            OSError: The shard cannot be written.
        """
        place = self._setup.out / task.name
        maker = self._get_maker()
        entry = maker.make(task.rows, place, self._check_missing, task.failed)
        if self._counters is not None:
            self._counters.add(entry, maker.clock.take())
        return entry

    def images_done(self) -> int:
        """Images finished of the shards that are being made."""
        return self._maker.images_done if self._maker is not None else 0

    def _hash_sources(self, rows: Sequence[ManifestRow]) -> str:
        parser = self._get_maker().parser
        max_pixels = self._setup.settings.max_pixels

        def digest(row: ManifestRow) -> tuple[str, str]:
            return row.image_id, add_parser_digest(parser, read_source(self._setup.images, row, max_pixels)).digest

        with ThreadPoolExecutor(self._setup.work.io_threads) as pool:
            digests = list(pool.map(digest, rows))
        return sources_sha256(digests)

    def _check_images(self) -> None:
        if not is_folder(self._setup.images):
            raise WorkError(
                f"{platform.node()} does not see the folder of the images {self._setup.images}: "
                f"it must lie on a file system that all machines of the cluster share"
            )

    def _check_missing(self, quarantine: Sequence[QuarantineRow]) -> None:
        """Missing images of a folder that is gone altogether are no fault of theirs: do not commit such a shard."""
        if any(row.reason in ("missing", "unreadable") for row in quarantine):
            self._check_images()

    def _get_maker(self) -> ShardMaker:
        with self._building:  # two shards may be asked for at once
            if self._maker is None:
                self._maker = self._build_maker()
                if is_open():  # in a process of Ray's
                    self._counters = WorkerCounters(self._setup.provenance.dataset, self._setup.settings.parser)
            return self._maker

    def _build_maker(self) -> ShardMaker:
        setup = self._setup
        if setup.device != "cpu":  # a parser may do without torch
            from pipeline.arithmetic import arithmetic

            # as long as this worker lives, for it makes two shards at once: float32 is float32 in convolutions, too
            self._arithmetic.enter_context(arithmetic(setup.device))
        parser = self._build_parser()
        if "torch" in sys.modules:  # a parser may do without
            sys.modules["torch"].set_num_threads(setup.threads)
        if parser.weights_sha256 != setup.provenance.weights_sha256:
            raise WorkError(
                f"parser {parser.name} has weights {parser.weights_sha256[:12]} on a worker, "
                f"{setup.provenance.weights_sha256[:12]} where the run was started: every machine needs the same"
            )
        return ShardMaker(parser, setup.settings, setup.provenance, setup.images, setup.work, setup.device)

    def _build_parser(self) -> Parser:
        settings, device = self._setup.settings, self._setup.device
        try:
            return build_parser(settings, device)
        except Exception as error:  # it may be of any class
            if not is_device_fault(error):
                raise
            from pipeline.parsing.parser import check_settings

            filled = check_settings(settings.parser, settings.settings)
            raise device_fault(error, settings.parser, filled, device) from error
