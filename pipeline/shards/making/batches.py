"""What a parser makes of batches: on a GPU the next one is launched before the outcomes of one are waited for.

A parser that breaks its contract ends the run; an image that it fails on costs its batch nothing; and a fault of its
device costs the worker (see :mod:`pipeline.shards.making.faults`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pipeline.device_faults import is_device_fault
from pipeline.errors import BadImageError, WorkError
from pipeline.images import RgbImage
from pipeline.overlap import launch_ahead
from pipeline.parsing.parser import Launching, Parser, Parsing, Taken, as_launching, check_settings
from pipeline.shards.making.counters import PhaseClock
from pipeline.shards.making.faults import PARSER_FAILED, device_fault
from pipeline.shards.making.settings import ShardSettings
from pipeline.shards.making.sources import Source, bucket_by_size

BATCHES_AHEAD = 1
"""Batches that a GPU is asked for before the outcomes of one are waited for, so that it has work meanwhile."""

Outcomes: TypeAlias = list[Parsing | BadImageError]


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


def launch_images(parser: Launching, images: Sequence[RgbImage], paths: Sequence[str]) -> Taken | None:
    """Begin to parse a batch; None if the parser fails on it, so that :func:`parse_images` must see to it.

    Raises:
        WorkError, Exception: As :func:`parse_images`.
    """
    try:
        return parser.launch(images, paths)
    except Exception as error:  # a parser may raise anything on an odd image
        if isinstance(error, WorkError) or is_device_fault(error):
            raise
        return None


def parse_images(
    parser: Parser, images: Sequence[RgbImage], paths: Sequence[str], launched: Taken | None = None
) -> Outcomes:
    """Parse a batch; when the parser fails on it, parse its images one by one, so that only the culprit is lost.

    Args:
        parser: The parser.
        images: The batch.
        paths: The images' paths inside their data set.
        launched: What the parser gave for the batch if it has begun with it.

    Raises:
        WorkError: The parser breaks its contract.
        Exception: The device failed (:func:`pipeline.device_faults.is_device_fault`), which is no fault of an image.
    """
    try:
        parsings = parser.parse(images, paths) if launched is None else launched()
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


@dataclass(frozen=True)
class Batch:
    """Images of a window that are parsed together.

    Attributes:
        window: All images of the window, as they were found.
        places: In the window, of those that are parsed.
        last: The window has no more batches.
    """

    window: Sequence[Source]
    places: Sequence[int]
    last: bool

    @property
    def sources(self) -> list[Source]:
        """The images that are parsed."""
        return [self.window[place] for place in self.places]


def make_batches(windows: Iterable[Sequence[Source]], batch_size: int) -> Iterator[Batch]:
    """The images of windows in batches of similar size; of a window without any good image, a batch of none."""
    for window in windows:
        *batches, last = bucket_by_size(window, batch_size) or [[]]
        yield from (Batch(window, places, last=False) for places in batches)
        yield Batch(window, last, last=True)


class BatchParser:
    """Parses batches with one parser; used by one thread at a time.

    Args:
        parser: The parser.
        settings: That it was built with.
        device: Torch device string that it was built for.
        clock: Counts its time.
    """

    def __init__(self, parser: Parser, settings: ShardSettings, device: str, clock: PhaseClock) -> None:
        self._parser = parser
        self._settings = settings
        self._device = device
        self._clock = clock
        self._launching = None if device == "cpu" else as_launching(parser)

    def parse(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Outcomes]]:
        """Yield each batch with the outcomes of its images.

        Raises:
            WorkError: The parser breaks its contract.
            WorkerFaultError: The device failed.
        """

        def launch(batch: Batch) -> Callable[[], tuple[Batch, Outcomes]]:
            taken = self.launch(batch.sources)
            return lambda: (batch, taken())

        return launch_ahead(launch, batches, BATCHES_AHEAD if self._launching is not None else 0)

    def launch(self, sources: Sequence[Source]) -> Taken:
        """Begin to parse images that are decoded, if the parser can begin; what is returned waits for their outcomes.

        Raises:
            WorkError, WorkerFaultError: As :meth:`parse`; so may what is returned.
        """
        images = [source.image for source in sources if source.image is not None]
        paths = [source.row.path for source in sources]
        if not images:
            return list
        launched: Taken | None = None
        if self._launching is not None:
            with self._watched(images):
                launched = launch_images(self._launching, images, paths)

        def take() -> Outcomes:
            with self._watched(images):
                return parse_images(self._parser, images, paths, launched)

        return take

    @contextmanager
    def _watched(self, images: Sequence[RgbImage]) -> Iterator[None]:
        """What the parser does with images is counted as its time, and a fault of its device costs the worker."""
        try:
            with self._clock.phase("parse"):
                yield
        except Exception as error:  # it may be of any class
            if not is_device_fault(error):
                raise
            settings = check_settings(self._settings.parser, self._settings.settings)
            raise device_fault(error, self._parser.name, settings, self._device, images) from error
