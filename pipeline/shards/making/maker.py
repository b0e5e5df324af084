"""Makes one shard from first to last: read and decode, parse, encode and write, each overlapping with the others.

The bytes of a shard depend on its images, its rows of the manifest and the settings; not on threads, nor on timing.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import numpy as np

from pipeline.datasets.manifest import ManifestRow
from pipeline.device_faults import is_device_fault
from pipeline.errors import BadImageError, WorkError
from pipeline.images import RgbImage
from pipeline.location import Location, Place, locate
from pipeline.overlap import MapAhead
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.parser import OwnLibraries, Parser, Parsing, check_settings
from pipeline.parsing.quality import assess
from pipeline.shards.making.counters import PhaseClock
from pipeline.shards.making.faults import PARSER_FAILED, Suspicion, device_fault, suspect
from pipeline.shards.making.rows import make_row
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.sources import (
    Source,
    add_parser_digest,
    bucket_by_size,
    decode_source,
    group_windows,
    open_source,
    sources_sha256,
)
from pipeline.shards.making.writer import QuarantineRow, ShardEntry, ShardRow, ShardWriter, open_shard
from pipeline.shards.schema import Provenance

AHEAD_PIXELS = 16_000_000
"""Pixels that are decoded but not parsed yet, and as many that are parsed but not encoded yet, at the most; an image
that has more is alone."""


def check_parsings(parser: Parser, images: Sequence[RgbImage], parsings: Sequence[Parsing | BadImageError]) -> None:
    """Check that a parser keeps its contract; one that does not is no fault of an image.

    Raises:
        WorkError: The number of results, a label map's size or type, or a label number is wrong.
    """
    if len(parsings) != len(images):
        raise WorkError(f"parser {parser.name} gave {len(parsings)} results for {len(images)} images")
    for image, parsing in zip(images, parsings, strict=True):
        if isinstance(parsing, BadImageError):
            continue
        label_map = parsing.label_map
        if label_map.shape != image.shape[:2] or label_map.dtype != np.uint8:
            raise WorkError(
                f"parser {parser.name} gave a label map of {label_map.dtype} {label_map.shape} for an image of "
                f"{image.shape[:2]}; it must be uint8 of the image's own size"
            )
        if int(label_map.max()) >= len(parser.scheme.labels):
            raise WorkError(
                f"parser {parser.name} gave label number {int(label_map.max())}; "
                f"its scheme {parser.scheme.name} has {len(parser.scheme.labels)} labels"
            )


def parse_images(parser: Parser, images: Sequence[RgbImage], paths: Sequence[str]) -> list[Parsing | BadImageError]:
    """Parse a batch; when the parser fails on it, parse its images one by one, so that only the culprit is lost.

    Raises:
        WorkError: The parser breaks its contract.
        Exception: The device failed (:func:`pipeline.device_faults.is_device_fault`), which is no fault of an image.
    """
    try:
        parsings = parser.parse(images, paths)
    except WorkError:
        raise
    except Exception as error:  # a parser may raise anything on an odd image
        if is_device_fault(error):
            raise
        if len(images) == 1:
            detail = str(error).splitlines()[0] if str(error) else "no message"
            return [BadImageError(PARSER_FAILED, f"{type(error).__name__}: {detail}")]
        return [
            outcome
            for image, path in zip(images, paths, strict=True)
            for outcome in parse_images(parser, [image], [path])
        ]
    check_parsings(parser, images, parsings)
    return list(parsings)


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
        device: Torch device string of the parser, for messages.

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
        self._device = device
        self._batch_size = work.batch_size
        self._window = work.window
        self._readers = ThreadPoolExecutor(work.io_threads, thread_name_prefix="read")
        self._encoders = ThreadPoolExecutor(work.io_threads, thread_name_prefix="encode")
        self._clothes = parser.scheme.numbers_of(list(provenance.clothes_labels))
        self._libraries = parser.libraries if isinstance(parser, OwnLibraries) else ()
        self.clock = PhaseClock()
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
                if source.image is not None and isinstance(self._parse_batch([source])[0], Parsing):
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

    def _parse_batch(self, sources: Sequence[Source]) -> list[Parsing | BadImageError]:
        """Outcomes of images that are decoded.

        Raises:
            WorkError: The parser breaks its contract.
            WorkerFaultError: The device failed.
        """
        images = [source.image for source in sources if source.image is not None]
        try:
            return parse_images(self._parser, images, [source.row.path for source in sources])
        except Exception as error:  # it may be of any class
            if not is_device_fault(error):
                raise
            settings = check_settings(self._settings.parser, self._settings.settings)
            raise device_fault(error, self._parser.name, settings, self._device, images) from error

    def _parse(
        self, sources: Iterable[Source], digests: list[tuple[str, str]], suspicion: Suspicion
    ) -> Iterator[tuple[Source, Parsing | BadImageError]]:
        """Outcomes in the manifest's order. The parser is this shard's from its first image to its last."""
        with self._turn:
            for window in group_windows(sources, self._window):
                digests += [(source.row.image_id, source.digest) for source in window]
                outcomes: dict[int, Parsing | BadImageError] = {}
                for batch in bucket_by_size(window, self._batch_size):
                    with self.clock.phase("parse"):
                        found = self._parse_batch([window[index] for index in batch])
                    outcomes.update(zip(batch, found, strict=True))
                    suspicion.add([(window[index].row.image_id, _error_of(outcomes[index])) for index in batch])
                for index, source in enumerate(window):
                    yield source, source.bad or outcomes[index]

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
