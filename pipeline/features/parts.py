"""Features of many images in parts, each of which is kept when it is complete, so that a killed run goes on.

:mod:`pipeline.features.part_maker` makes a part; here a list becomes parts, and parts become one feature file. Who
makes them, this process or the workers of a Ray cluster, changes no byte of it.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, WorkError
from pipeline.features.embedding import Encoder
from pipeline.features.feature_set import IMAGES_KEY, write_feature_parts
from pipeline.features.image_list import ImageList
from pipeline.features.part_maker import FeaturePart, PartMaker, read_bad, read_made
from pipeline.files import atomic_file, sha256_of_value
from pipeline.locks import hold
from pipeline.progress import Progress
from pipeline.shards.making.writer import QuarantineRow
from pipeline.shards.schema import QUARANTINE_SCHEMA

PART_BATCHES: Final = 32
"""Forward passes of a part: so much is lost at most when a run is killed."""
RUN_FILE: Final = "run.txt"
"""In the folder of the parts: what the workers of a run know their folder by."""

_FILE: Final = r"(part-\d{6}\.parquet|run\.txt)"
_OURS: Final = re.compile(rf"{_FILE}|\.{_FILE}\.[0-9a-f]{{8}}\.tmp")


@dataclass(frozen=True)
class Embedded:
    """What came of a list of images.

    Attributes:
        images: Rows of the feature file.
        dimension: Numbers of a feature.
        bad: Images that cannot be used, in the order of the list.
        parts: Number of parts.
        reused: Those of them that an earlier run had made.
        lost: Workers that died or hung, and were replaced.
    """

    images: int
    dimension: int
    bad: tuple[QuarantineRow, ...]
    parts: int
    reused: int
    lost: int = 0


def quarantine_of(features: Path) -> Path:
    """The table of the images without a feature, beside the feature file."""
    return features.with_name(f"{features.stem}.quarantine.parquet")


@dataclass(frozen=True)
class Parts:
    """A list of images in parts.

    Attributes:
        images: The whole list.
        folder: Where the files of its parts are.
        rows: Of each part but the last.
        content: Hash of what decides the parts besides the encoder: the list, the sizes of batches and parts, and the
            bound of an image's pixels.
    """

    images: ImageList
    folder: Path
    rows: int
    content: str

    def __len__(self) -> int:
        return len(range(0, len(self.images), self.rows))

    @property
    def paths(self) -> list[Path]:
        """Their files, in order."""
        return [self.folder / _name(number) for number in range(len(self))]

    def __iter__(self) -> Iterator[FeaturePart]:
        for number, start in enumerate(range(0, len(self.images), self.rows)):
            yield FeaturePart(_name(number), start, self.images.part(start, min(start + self.rows, len(self.images))))


def _name(number: int) -> str:
    return f"part-{number:06d}.parquet"


@contextmanager
def open_parts(images: ImageList, out: Path, batch_size: int, part_batches: int, max_pixels: int) -> Iterator[Parts]:
    """The parts of a list for the feature file ``out``, which no other run makes meanwhile.

    Raises:
        InputError: Another run writes the same file.
    """
    rows = part_batches * batch_size
    content = sha256_of_value([batch_size, rows, images.sha256(), max_pixels])
    with hold(out):
        folder = out.with_name(f".{out.name}.parts")
        folder.mkdir(parents=True, exist_ok=True)
        yield Parts(images, folder, rows, content)


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
    with open_parts(images, out, encoder.settings.batch_size, part_batches, max_pixels) as parts:
        maker = PartMaker(encoder, parts.content, max_pixels, threads or len(os.sched_getaffinity(0)) + 2)
        reused = 0
        with Progress(len(images), "embed", "image", quiet) as progress:
            for part in parts:
                if maker.is_whole(parts.folder / part.name, part):
                    reused += 1
                    progress.advance(len(part.images))
                else:
                    maker.make(parts.folder / part.name, part, progress.advance)
        return join_parts(parts, out, reused)


def join_parts(parts: Parts, out: Path, reused: int, lost: int = 0) -> Embedded:
    """Write the feature file and the quarantine table of complete parts, and remove these.

    Args:
        parts: The parts.
        out: Feature file.
        reused: Parts of an earlier run.
        lost: Workers that were replaced.

    Raises:
        InputError: No image can be used.
        WorkError: The parts were made by different encoders.
    """
    images, paths = parts.images, parts.paths
    bad = tuple(row for path in paths for row in read_bad(path))
    if len(bad) == len(images):
        _write_quarantine(quarantine_of(out), bad)
        _clear(parts.folder)
        earlier = f"; {out} is what an earlier run wrote" if out.exists() else ""
        raise InputError(
            f"none of the {len(images)} images can be used ({bad[0].path}: {bad[0].detail}); all the reasons are "
            f"in {quarantine_of(out)}{earlier}"
        )
    made = read_made(paths[0])
    for path in paths:
        if read_made(path) != made:
            raise WorkError(
                f"{path} was computed otherwise than the parts before it ({read_made(path)}, not {made}): use machines "
                "with the same kind of device, or name one precision by --set evaluate.precision"
            )
    write_feature_parts(out, _filled(paths), {**made, **_places(images)})
    _write_quarantine(quarantine_of(out), bad)
    dimension = pq.read_schema(out).field("feature").type.list_size
    _clear(parts.folder)
    return Embedded(len(images) - len(bad), dimension, bad, len(paths), reused, lost)


def _clear(folder: Path) -> None:
    """Remove the parts and what killed workers had half written, and their folder if nothing else is in it."""
    for path in list(folder.iterdir()):
        if _OURS.fullmatch(path.name):
            path.unlink(missing_ok=True)
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


def _write_quarantine(path: Path, rows: Sequence[QuarantineRow]) -> None:
    columns = [pa.array([getattr(row, name) for row in rows], type=pa.string()) for name in QUARANTINE_SCHEMA.names]
    with atomic_file(path) as temporary:
        pq.write_table(pa.table(columns, schema=QUARANTINE_SCHEMA), temporary, compression="ZSTD")
