"""Makes one part of a list's features: whole images in, a Parquet file with features, reasons and hashes out.

A part is a number of rows of the list. Its file holds the features, the images that cannot be used with their reasons,
what made them, and the hash of all its images' bytes: one that changed since makes its part again.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import BadImageError
from pipeline.features.builder import made_by
from pipeline.features.embedding import Encoder
from pipeline.features.extraction import results_ahead
from pipeline.features.feature_set import NO_ID, Floats, write_features
from pipeline.features.image_list import ImageList, open_item
from pipeline.features.image_tables import LABELS
from pipeline.files import sha256_of_value
from pipeline.images import RgbImage, resize_image
from pipeline.overlap import MapAhead, launch_ahead
from pipeline.shards.making.sources import Source, decode_source, sources_sha256
from pipeline.shards.making.writer import QuarantineRow

_BATCHES_AHEAD: Final = 3
_FINGERPRINT, _SOURCES, _BAD, _MADE = b"fingerprint", b"sources_sha256", b"quarantine", b"made_by"


@dataclass(frozen=True)
class FeaturePart:
    """Some rows of a list, one after another.

    Attributes:
        name: Of its file.
        start: Row of the whole list that it begins with.
        images: Its rows alone.
        failed: Not used here: what the pool of workers knows of a task that one of them failed on.
    """

    name: str
    start: int
    images: ImageList
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Ready:
    """One image of a part, decoded at the encoder's size, or why it cannot be used."""

    row: int
    digest: str
    pixels: RgbImage | None
    bad: QuarantineRow | None


Item = tuple[int, tuple[ManifestRow, bytes | BadImageError | None]]


@dataclass(frozen=True)
class PartMaker:
    """Makes parts, and tells which of them can be kept. Threads may share it.

    Attributes:
        encoder: It computes the features.
        content: What decides a part besides the encoder: see :func:`pipeline.features.parts.embed_list`.
        max_pixels: Larger images are not decoded.
        threads: That read and decode.
        turn: Held while the network computes, where parts are made at the same time.
    """

    encoder: Encoder
    content: str
    max_pixels: int
    threads: int
    turn: AbstractContextManager[Any] = field(default_factory=nullcontext)

    @property
    def made(self) -> dict[str, str]:
        """What made the features; see :func:`made_by`."""
        return made_by(self.encoder.chosen, self.encoder.settings, self.encoder.device)

    def is_whole(self, path: Path, part: FeaturePart) -> bool:
        """Whether a part is there, of the same encoder and list, and of the images as they are now."""
        try:
            known = pq.read_schema(path).metadata or {}
        except (OSError, pa.ArrowException):
            return False
        if known.get(_FINGERPRINT) != self._fingerprint.encode():
            return False
        images = part.images
        with ThreadPoolExecutor(self.threads) as pool:
            items = images.items(self.max_pixels)
            found = MapAhead(pool, lambda item: self._open(images, *item).digest, items, 4 * self.threads)
            with closing(found):
                digest = _digest(list(found), part.start)
        return known.get(_SOURCES) == digest.encode()

    def make(self, path: Path, part: FeaturePart, report: Callable[[int], None]) -> None:
        """Make a part; the network computes while threads read and decode the next batches.

        A GPU is asked for the next batches before the features of one are waited for.
        """
        rows: list[int] = []
        features: list[Floats] = []
        bad: list[QuarantineRow] = []
        digests: list[str] = []
        size = self.encoder.settings.batch_size
        images = part.images

        def batches() -> Iterator[list[_Ready]]:
            batch: list[_Ready] = []
            for ready in ahead:
                digests.append(ready.digest)
                if ready.bad is None:
                    batch.append(ready)
                    rows.append(ready.row)
                else:
                    bad.append(ready.bad)
                    report(1)
                if len(batch) == size:
                    ahead.fill()
                    yield batch
                    batch = []
            if batch:
                yield batch

        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            items = enumerate(images.items(self.max_pixels))
            ahead = MapAhead(pool, lambda item: self._ready(images, item), items, _BATCHES_AHEAD * size)
            with closing(ahead):
                launched = results_ahead(self.encoder.device)
                for found in launch_ahead(lambda batch: self._launch(images, batch), batches(), launched):
                    features.append(found)
                    report(len(found))
        known = {
            _FINGERPRINT.decode(): self._fingerprint,
            _SOURCES.decode(): _digest(digests, part.start),
            _BAD.decode(): json.dumps([asdict(row) for row in bad]),
            _MADE.decode(): json.dumps(self.made),
        }
        write_features(path, self._table(images, rows, features), known)

    @property
    def _fingerprint(self) -> str:
        return sha256_of_value([self.made, self.content])

    def _open(self, images: ImageList, row: ManifestRow, data: bytes | BadImageError | None) -> Source:
        return open_item(images.folder, row, data, self.max_pixels)

    def _ready(self, images: ImageList, item: Item) -> _Ready:
        number, (row, data) = item
        source = decode_source(self._open(images, row, data))
        if source.bad is not None or source.image is None:
            reason, detail = (source.bad.reason, source.bad.detail) if source.bad else ("unsupported", "no pixels")
            name = images.rows["image_id"][number].as_py()
            return _Ready(number, source.digest, None, QuarantineRow(name, row.path, reason, detail))
        return _Ready(number, source.digest, resize_image(source.image, self.encoder.size), None)

    def _launch(self, images: ImageList, batch: Sequence[_Ready]) -> Callable[[], Floats]:
        pixels = np.stack([one.pixels for one in batch if one.pixels is not None])
        cameras = images.rows["camera_id"].take(pa.array([one.row for one in batch])).fill_null(NO_ID)
        with self.turn:
            return self.encoder.launch(torch.from_numpy(pixels), cameras.cast(pa.int64()).to_numpy())

    def _table(self, images: ImageList, rows: Sequence[int], features: Sequence[Floats]) -> pa.Table:
        """The columns of a feature file for some rows of a part."""
        known = images.rows.take(pa.array(rows, pa.int64()))
        flat = np.concatenate([*features, np.empty((0, self.encoder.dim), np.float32)]).ravel()
        columns = {name: known[name] for name in ("image_id", "role", *LABELS, "path")}
        columns["person_id"] = columns["person_id"].fill_null(NO_ID)
        if images.held:
            columns["path"] = pa.nulls(len(rows), pa.string())
        return pa.table(
            {**columns, "feature": pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), self.encoder.dim)}
        )


def _digest(digests: Sequence[str], start: int) -> str:
    return sources_sha256((str(row), digest) for row, digest in enumerate(digests, start))


def read_bad(path: Path) -> list[QuarantineRow]:
    """The images of a part that cannot be used, in their order."""
    return [QuarantineRow(**row) for row in json.loads((pq.read_schema(path).metadata or {})[_BAD])]


def read_made(path: Path) -> dict[str, str]:
    """What made a part; see :attr:`PartMaker.made`."""
    made: dict[str, str] = json.loads((pq.read_schema(path).metadata or {})[_MADE])
    return made
