"""Makes one shard from first to last: read and decode, parse, encode and write, each overlapping with the others.

The bytes of a shard depend on its images, its rows of the manifest and the settings; not on threads, nor on timing.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import BadImageError
from pipeline.location import Location, Place, locate
from pipeline.overlap import MapAhead
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.parser import OwnLibraries, Parser, Parsing
from pipeline.parsing.quality import assess
from pipeline.shards.making.batches import BatchParser, make_batches
from pipeline.shards.making.counters import PhaseClock
from pipeline.shards.making.faults import PARSER_FAILED, Suspicion, suspect
from pipeline.shards.making.rows import make_row
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.sources import (
    Source,
    add_parser_digest,
    decode_source,
    group_windows,
    open_source,
    sources_sha256,
)
from pipeline.shards.making.writer import QuarantineRow, ShardEntry, ShardRow, ShardWriter, open_shard
from pipeline.shards.schema import Provenance

AHEAD_PIXELS = 16_000_000
"""Pixels that are decoded but not parsed yet, and as many that are parsed but not encoded yet, at the most; an image
that has more is alone. Besides, there is the window that is being parsed, and on a GPU the next one."""


def _error_of(outcome: Parsing | BadImageError) -> str | None:
    """What the parser raised; None if it gave an answer, even if that is why the image cannot be parsed."""
    return outcome.detail if isinstance(outcome, BadImageError) and outcome.reason == PARSER_FAILED else None


class ShardMaker:
    """Makes shards with one parser. Two threads may call :meth:`make` at the same time.

    While the first one's shard is encoded, written, synced and hashed to its end, the second one's images are parsed;
    so the network does not wait between two shards.

    Args:
        parser: The parser; used by one thread at a time.
        settings: What decides the bytes.
        provenance: Goes into every shard.
        images: Folder that relative paths of the manifest are relative to.
        work: Sizes of batches, and the number of threads.
        device: Torch device string of the parser.

    Attributes:
        clock: Seconds of its threads by phase.
    """

    def __init__(
        self,
        parser: Parser,
        settings: ShardSettings,
        provenance: Provenance,
        images: Location,
        work: WorkSettings,
        device: str = "cpu",
    ) -> None:
        self._parser = parser
        self._settings = settings
        self._provenance = provenance
        self._images = images
        self._batch_size = work.batch_size
        self._window = work.window
        self._readers = ThreadPoolExecutor(work.io_threads, thread_name_prefix="read")
        self._encoders = ThreadPoolExecutor(work.io_threads, thread_name_prefix="encode")
        self._clothes = parser.scheme.numbers_of(list(provenance.clothes_labels))
        self._libraries = parser.libraries if isinstance(parser, OwnLibraries) else ()
        self.clock = PhaseClock()
        self._batches = BatchParser(parser, settings, device, self.clock)
        self._turn = threading.Lock()
        self._done: dict[object, int] = {}

    @property
    def images_done(self) -> int:
        """Images finished of the shards that are being made."""
        return sum(list(self._done.values()))

    def make(
        self,
        rows: Sequence[ManifestRow],
        place: Place,
        check: Callable[[Sequence[QuarantineRow]], None] = lambda _: None,
        failed: Collection[str] = (),
    ) -> ShardEntry:
        """Make the shard of ``rows`` and commit it at ``place``.

        Args:
            rows: Its part of the manifest.
            place: Its file.
            check: Called with its quarantine before it is committed; what it raises is raised, and nothing committed.
            failed: Ids of images that another worker failed on, so that they are quarantined if they fail here too.

        Raises:
            WorkError: The parser breaks its contract, or a remote file system does not answer.
            WorkerFaultError: The device failed, or images failed in such numbers that another worker must try them;
                nothing is committed.
            OSError: The shard cannot be written, or no image can be read just now.
        """
        location = locate(place)
        digests: list[tuple[str, str]] = []
        suspicion = Suspicion(failed)
        with (
            self._counted() as counter,
            self._open_shard(location) as writer,
            closing(self._decoded(rows)) as sources,
            closing(self._encoded(self._parse(sources, digests, suspicion))) as encoded,
        ):
            sources.fill()  # before its turn, so that the first batch is there when it comes
            for row in encoded:
                with self.clock.phase("write"):
                    writer.add(row)
                self._done[counter] += 1
            suspicion.finish()
            if suspicion.failed:
                raise suspect(self._parser.name, suspicion)
            check(writer.quarantine)
            writer.finish(sources_sha256(digests))
        assert writer.entry is not None, "the shard was committed"
        return writer.entry

    def parses_any(self, rows: Sequence[ManifestRow]) -> bool:
        """Whether any of some images, which could not be parsed before, can be parsed now.

        Raises:
            WorkError: The parser breaks its contract.
            WorkerFaultError: The device failed.
        """
        with self._turn:
            for row in rows:
                source = decode_source(self._open(row))
                if source.image is not None and isinstance(self._batches.launch([source])()[0], Parsing):
                    return True
        return False

    @property
    def parser(self) -> Parser:
        """The parser that it was given."""
        return self._parser

    def close(self) -> None:
        """Stop the threads."""
        self._readers.shutdown(cancel_futures=True)
        self._encoders.shutdown(cancel_futures=True)

    @contextmanager
    def _counted(self) -> Iterator[object]:
        counter = object()
        self._done[counter] = 0
        try:
            yield counter
        finally:
            del self._done[counter]

    @contextmanager
    def _open_shard(self, location: Location) -> Iterator[ShardWriter]:
        """As :func:`open_shard`; that it is synced and hashed counts as writing."""
        with (
            ExitStack() as ending,
            open_shard(location, self._provenance, self._settings.row_group_rows, self._libraries) as writer,
        ):
            yield writer
            ending.enter_context(self.clock.phase("write"))

    def _decoded(self, rows: Sequence[ManifestRow]) -> MapAhead[Source, Source]:
        """Read far ahead, for encoded files are small; decode one window ahead, and not too many pixels."""
        read = MapAhead(self._readers, self.clock.timed("read", self._open), rows, 2 * self._window)
        decode = self.clock.timed("decode", decode_source)
        return MapAhead(
            self._readers, decode, read, self._window, cost=lambda source: source.pixels, budget=AHEAD_PIXELS
        )

    def _encoded(
        self, parsed: Iterable[tuple[Source, Parsing | BadImageError]]
    ) -> MapAhead[tuple[Source, Parsing | BadImageError], ShardRow | QuarantineRow]:
        encode = self.clock.timed("encode", self._encode)
        return MapAhead(
            self._encoders, encode, parsed, self._window, cost=lambda pair: pair[0].pixels, budget=AHEAD_PIXELS
        )

    def _open(self, row: ManifestRow) -> Source:
        return add_parser_digest(self._parser, open_source(self._images, row, self._settings.max_pixels))

    def _parse(
        self, sources: Iterable[Source], digests: list[tuple[str, str]], suspicion: Suspicion
    ) -> Iterator[tuple[Source, Parsing | BadImageError]]:
        """Outcomes in the manifest's order. The parser is this shard's from its first image to its last."""

        def windows() -> Iterator[list[Source]]:
            for window in group_windows(sources, self._window):
                digests.extend((source.row.image_id, source.digest) for source in window)
                yield window

        outcomes: dict[int, Parsing | BadImageError] = {}
        with self._turn:
            for batch, found in self._batches.parse(make_batches(windows(), self._batch_size)):
                outcomes.update(zip(batch.places, found, strict=True))
                names = [source.row.image_id for source in batch.sources]
                suspicion.add(list(zip(names, map(_error_of, found), strict=True)))
                if batch.last:
                    for place, source in enumerate(batch.window):
                        yield source, source.bad or outcomes[place]
                    outcomes.clear()

    def _encode(self, parsed: tuple[Source, Parsing | BadImageError]) -> ShardRow | QuarantineRow:
        source, outcome = parsed
        row = source.row
        if isinstance(outcome, BadImageError) or source.image is None:
            assert isinstance(outcome, BadImageError), "a source without pixels has a reason"
            return QuarantineRow(row.image_id, row.path, outcome.reason, outcome.detail)
        mask = clothes_mask(outcome.label_map, self._clothes, self._settings.dilate, self._settings.fill_holes)
        quality = assess(
            outcome,
            mask,
            min_person_fraction=self._settings.min_person_fraction,
            low_confidence=self._settings.low_confidence,
            garments_only=self._parser.scheme.garments_only,
        )
        return make_row(
            row,
            source.image,
            outcome.label_map,
            mask,
            quality,
            self._settings.fill,
            source.data,
            shielded=self._settings.shielded_images == "stored",
        )
