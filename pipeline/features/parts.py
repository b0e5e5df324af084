"""Features of many images in parts, each of which is kept when it is complete, so that a killed run goes on.

A part is a number of rows of the list. Its file holds the features, the images that cannot be used with their reasons,
and the hash of all its images' bytes: one that changed since makes its part again.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import InputError
from pipeline.features.builder import made_by
from pipeline.features.embedding import Encoder
from pipeline.features.feature_set import IMAGES_KEY, NO_ID, Floats, write_feature_parts, write_features
from pipeline.features.image_list import ImageList, open_item
from pipeline.features.image_tables import LABELS
from pipeline.files import atomic_file, sha256_of_value
from pipeline.images import RgbImage, resize_image
from pipeline.locks import hold
from pipeline.overlap import MapAhead
from pipeline.progress import Progress
from pipeline.shards.making.sources import Source, decode_source, sources_sha256
from pipeline.shards.making.writer import QuarantineRow
from pipeline.shards.schema import QUARANTINE_SCHEMA

PART_BATCHES: Final = 32
"""Forward passes of a part: so much is lost at most when a run is killed."""

_BATCHES_AHEAD: Final = 3
_PART: Final = re.compile(r"part-\d{6}\.parquet")
_FINGERPRINT, _SOURCES, _BAD = b"fingerprint", b"sources_sha256", b"quarantine"


@dataclass(frozen=True)
class Embedded:
    """What came of a list of images.

    Attributes:
        images: Rows of the feature file.
        dimension: Numbers of a feature.
        bad: Images that cannot be used, in the order of the list.
        parts: Number of parts.
        reused: Those of them that an earlier run had made.
    """

    images: int
    dimension: int
    bad: tuple[QuarantineRow, ...]
    parts: int
    reused: int


@dataclass(frozen=True)
class _Ready:
    """One image of the list, decoded at the encoder's size, or why it cannot be used."""

    row: int
    digest: str
    pixels: RgbImage | None
    bad: QuarantineRow | None


def quarantine_of(features: Path) -> Path:
    """The table of the images without a feature, beside the feature file."""
    return features.with_name(f"{features.stem}.quarantine.parquet")


def embed_list(
    encoder: Encoder,
    images: ImageList,
    out: Path,
    *,
    max_pixels: int,
    threads: int = 0,
    part_batches: int = PART_BATCHES,
    quiet: bool = False,
) -> Embedded:
    """Write the features of a list of images: one row for each that can be used, in the order of the list.

    Images that cannot be used go to the table of :func:`quarantine_of`, which has no row if there is none.

    Args:
        encoder: It computes the features.
        images: The list.
        out: Feature file.
        max_pixels: Larger images are not decoded.
        threads: That read and decode; 0: two more than the CPUs of this process.
        part_batches: Forward passes of a part.
        quiet: No progress line.

    Raises:
        InputError: No image can be used; or another run writes the same file.
        WorkError: Memory does not suffice, or a remote file system does not answer; what is complete is kept.
    """
    size = part_batches * encoder.settings.batch_size
    starts = range(0, len(images), size)
    fingerprint = sha256_of_value(
        [
            made_by(encoder.chosen, encoder.settings, encoder.device),
            encoder.settings.batch_size,
            size,
            images.sha256(),
            max_pixels,
        ]
    )
    folder = out.with_name(f".{out.name}.parts")
    with hold(out):
        folder.mkdir(parents=True, exist_ok=True)
        work = _Work(encoder, images, max_pixels, fingerprint, threads or len(os.sched_getaffinity(0)) + 2)
        paths, reused = [], 0
        with Progress(len(images), "embed", "image", quiet) as progress:
            for number, start in enumerate(starts):
                paths.append(folder / f"part-{number:06d}.parquet")
                stop = min(start + size, len(images))
                if work.is_whole(paths[-1], start, stop):
                    reused += 1
                    progress.advance(stop - start)
                else:
                    work.make(paths[-1], start, stop, progress.advance)
        bad = tuple(row for path in paths for row in _read_bad(path))
        if len(bad) == len(images):
            _write_quarantine(quarantine_of(out), bad)
            _clear(folder)
            earlier = f"; {out} is what an earlier run wrote" if out.exists() else ""
            raise InputError(
                f"none of the {len(images)} images can be used ({bad[0].path}: {bad[0].detail}); all the reasons are "
                f"in {quarantine_of(out)}{earlier}"
            )
        write_feature_parts(
            out, _filled(paths), {**made_by(encoder.chosen, encoder.settings, encoder.device), **_places(images)}
        )
        _write_quarantine(quarantine_of(out), bad)
        _clear(folder)
    return Embedded(len(images) - len(bad), encoder.dim, bad, len(paths), reused)


def _clear(folder: Path) -> None:
    """Remove the parts, and their folder if nothing else is in it."""
    for path in list(folder.iterdir()):
        if _PART.fullmatch(path.name):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _places(images: ImageList) -> dict[str, str]:
    """Where paths of the feature file lead; nowhere if tables held the images."""
    if images.held:
        return {}
    local = images.folder.local
    return {IMAGES_KEY: str(images.folder) if local is None else str(local.resolve())}


def _filled(paths: Sequence[Path]) -> Iterator[pa.Table]:
    for path in paths:
        table = pq.read_table(path)
        if table.num_rows:
            yield table


def _read_bad(path: Path) -> Iterator[QuarantineRow]:
    for row in json.loads((pq.read_schema(path).metadata or {})[_BAD]):
        yield QuarantineRow(**row)


def _write_quarantine(path: Path, rows: Sequence[QuarantineRow]) -> None:
    columns = [pa.array([getattr(row, name) for row in rows], type=pa.string()) for name in QUARANTINE_SCHEMA.names]
    with atomic_file(path) as temporary:
        pq.write_table(pa.table(columns, schema=QUARANTINE_SCHEMA), temporary, compression="ZSTD")


@dataclass(frozen=True)
class _Work:
    """Makes parts, and tells which of them can be kept. Attributes as for :func:`embed_list`."""

    encoder: Encoder
    images: ImageList
    max_pixels: int
    fingerprint: str
    threads: int

    def is_whole(self, path: Path, start: int, stop: int) -> bool:
        """Whether a part is there, of the same encoder and list, and of the images as they are now."""
        try:
            known = pq.read_schema(path).metadata or {}
        except (OSError, pa.ArrowException):
            return False
        if known.get(_FINGERPRINT) != self.fingerprint.encode():
            return False
        with ThreadPoolExecutor(self.threads) as pool:
            items = self.images.items(start, stop)
            found = MapAhead(pool, lambda item: self._open(*item).digest, items, 4 * self.threads)
            with closing(found):
                digest = self._digest(list(found), start)
        return known.get(_SOURCES) == digest.encode()

    def make(self, path: Path, start: int, stop: int, report: Callable[[int], None]) -> None:
        """Make a part; the network computes while threads read and decode the next batches."""
        batch: list[_Ready] = []
        rows: list[int] = []
        features: list[Floats] = []
        bad: list[QuarantineRow] = []
        digests: list[str] = []
        size = self.encoder.settings.batch_size
        items = enumerate(self.images.items(start, stop), start)
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            ahead = MapAhead(pool, self._ready, items, _BATCHES_AHEAD * size)
            with closing(ahead):
                for ready in ahead:
                    digests.append(ready.digest)
                    if ready.bad is None:
                        batch.append(ready)
                    else:
                        bad.append(ready.bad)
                        report(1)
                    if len(batch) == size:
                        ahead.fill()
                        features.append(self._encode(batch))
                        rows += [one.row for one in batch]
                        report(len(batch))
                        batch = []
                if batch:
                    features.append(self._encode(batch))
                    rows += [one.row for one in batch]
                    report(len(batch))
        known = {
            _FINGERPRINT.decode(): self.fingerprint,
            _SOURCES.decode(): self._digest(digests, start),
            _BAD.decode(): json.dumps([asdict(row) for row in bad]),
        }
        write_features(path, self._table(rows, features), known)

    def _open(self, row: ManifestRow, data: bytes | None) -> Source:
        return open_item(self.images.folder, row, data, self.max_pixels)

    def _ready(self, item: tuple[int, tuple[ManifestRow, bytes | None]]) -> _Ready:
        number, (row, data) = item
        source = decode_source(self._open(row, data))
        if source.bad is not None or source.image is None:
            reason, detail = (source.bad.reason, source.bad.detail) if source.bad else ("unsupported", "no pixels")
            name = self.images.rows["image_id"][number].as_py()
            return _Ready(number, source.digest, None, QuarantineRow(name, row.path, reason, detail))
        return _Ready(number, source.digest, resize_image(source.image, self.encoder.size), None)

    def _encode(self, batch: Sequence[_Ready]) -> Floats:
        pixels = np.stack([one.pixels for one in batch if one.pixels is not None])
        cameras = self.images.rows["camera_id"].take(pa.array([one.row for one in batch])).fill_null(NO_ID)
        return self.encoder.encode(torch.from_numpy(pixels), cameras.cast(pa.int64()).to_numpy())

    def _digest(self, digests: Sequence[str], start: int) -> str:
        return sources_sha256((str(row), digest) for row, digest in enumerate(digests, start))

    def _table(self, rows: Sequence[int], features: Sequence[Floats]) -> pa.Table:
        """The columns of a feature file for some rows of the list."""
        known = self.images.rows.take(pa.array(rows, pa.int64()))
        flat = np.concatenate([*features, np.empty((0, self.encoder.dim), np.float32)]).ravel()
        columns = {name: known[name] for name in ("image_id", "role", *LABELS, "path")}
        columns["person_id"] = columns["person_id"].fill_null(NO_ID)
        if self.images.held:
            columns["path"] = pa.nulls(len(rows), pa.string())
        return pa.table(
            {**columns, "feature": pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), self.encoder.dim)}
        )
