"""The images that go into a shard: read, hashed, decoded, and grouped into batches, in the manifest's order."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import BadImageError
from pipeline.images import RgbImage, decode_image, read_bytes
from pipeline.parsing.parser import Parser, SourceDigest

BATCH_PIXELS = 16_000_000
"""A batch ends early when its images have so many pixels, so that large photographs do not pile up in memory."""


@dataclass(frozen=True)
class Source:
    """One image of the manifest as it was found.

    Attributes:
        row: Its row of the manifest.
        data: The bytes of its file; empty if it could not be read.
        digest: Hash of the bytes, or the reason why there are none.
        image: Its pixels; None if it is bad.
        bad: Why it cannot be used; None if it can.
    """

    row: ManifestRow
    data: bytes
    digest: str
    image: RgbImage | None
    bad: BadImageError | None


def read_source(images: Path, row: ManifestRow) -> Source:
    """Read and hash an image file, without decoding it."""
    path = images / row.path
    try:
        data = read_bytes(path)
    except BadImageError as error:
        # the quarantine table must not depend on where the data set lies
        bad = BadImageError(error.reason, error.detail.replace(str(path), row.path))
        return Source(row, b"", error.reason, None, bad)
    return Source(row, data, hashlib.sha256(data).hexdigest(), None, None)


def load_source(images: Path, row: ManifestRow, max_pixels: int) -> Source:
    """Read, hash and decode an image file; one that cannot be used gives the reason."""
    source = read_source(images, row)
    if source.bad is not None:
        return source
    try:
        return replace(source, image=decode_image(source.data, max_pixels))
    except BadImageError as error:
        return replace(source, bad=error)


def add_parser_digest(parser: Parser, source: Source) -> Source:
    """The source with the parser's own digest for it, where the parser looks results up (see ``SourceDigest``)."""
    if not isinstance(parser, SourceDigest):
        return source
    return replace(source, digest=f"{source.digest}\0{parser.source_digest(source.row.path)}")


def sources_sha256(digests: Iterable[tuple[str, str]]) -> str:
    """Hash of the image files of a shard, from pairs of image_id and :attr:`Source.digest`, in order.

    It tells whether a committed shard is still that of its images.
    """
    total = hashlib.sha256()
    for image_id, digest in digests:
        total.update(f"{image_id}\0{digest}\n".encode())
    return total.hexdigest()


def group_batches(sources: Iterable[Source], batch_size: int) -> Iterator[list[Source]]:
    """Group in order, so that a batch has at most ``batch_size`` images and little more than :data:`BATCH_PIXELS`."""
    batch: list[Source] = []
    pixels = 0
    for source in sources:
        batch.append(source)
        pixels += source.image.shape[0] * source.image.shape[1] if source.image is not None else 0
        if len(batch) >= batch_size or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
