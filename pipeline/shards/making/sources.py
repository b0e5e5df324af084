"""The images that go into a shard: read, hashed, decoded, and grouped into batches.

An image's bytes are read once: the hash, the stored bytes and the decoded pixels are of the same reading. A file that
changes afterwards has another hash at the next run, which makes its shard again. A file that is being written while it
is read gives what was read: mostly it is truncated and goes to quarantine, and the next run notices as well.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import BadImageError
from pipeline.images import DEFAULT_MAX_PIXELS, RgbImage, check_size, decode_pixels, max_bytes
from pipeline.images import read_bytes as read_image_bytes
from pipeline.limited_reading import FileTooLargeError
from pipeline.location import Location
from pipeline.parsing.parser import Parser, SourceDigest
from pipeline.storage import StorageError, read_bytes

BATCH_PIXELS = 16_000_000
"""A batch, and a window of them, ends early when it has so many pixels, so that large photographs do not pile up."""


@dataclass(frozen=True)
class Source:
    """One image of the manifest as it was found.

    Attributes:
        row: Its row of the manifest.
        data: The bytes of its file; empty if it could not be read.
        digest: Hash of the bytes, or the reason why there are none.
        pixels: Number of its pixels, by its header; 0 if it is bad.
        image: Its pixels; None if it is bad, or not decoded yet.
        bad: Why it cannot be used; None if it can.
    """

    row: ManifestRow
    data: bytes
    digest: str
    pixels: int = 0
    image: RgbImage | None = None
    bad: BadImageError | None = None


def _read(images: Location, row: ManifestRow, max_pixels: int) -> bytes:
    place = images / row.path
    if place.local is not None:
        return read_image_bytes(place.local, max_pixels)
    try:
        return read_bytes(place, max_bytes(max_pixels))
    except FileTooLargeError as error:
        raise BadImageError("too_large", f"{place}: {error}") from error
    except FileNotFoundError:
        raise BadImageError("missing", f"no file at {place}") from None
    except StorageError as error:
        if "ACCESS_DENIED" in str(error) or isinstance(error.__cause__, PermissionError):
            raise BadImageError("unreadable", str(error)) from error
        raise


def read_source(images: Location, row: ManifestRow, max_pixels: int = DEFAULT_MAX_PIXELS) -> Source:
    """Read and hash an image file, without looking into it; its size is bounded by ``max_pixels``.

    Raises:
        OSError, StorageError: Nothing can be read just now; it says nothing of the image.
    """
    try:
        data = _read(images, row, max_pixels)
    except BadImageError as error:
        # the quarantine table must not depend on where the data set lies
        bad = BadImageError(error.reason, error.detail.replace(str(images / row.path), row.path))
        return Source(row, b"", error.reason, bad=bad)
    return Source(row, data, hashlib.sha256(data).hexdigest())


def open_source(images: Location, row: ManifestRow, max_pixels: int) -> Source:
    """Read and hash an image file and look at its header; no pixel is decoded.

    Raises:
        OSError, StorageError: As :func:`read_source`.
    """
    source = read_source(images, row, max_pixels)
    if source.bad is not None:
        return source
    try:
        return replace(source, pixels=check_size(source.data, max_pixels))
    except BadImageError as error:
        return replace(source, bad=error)


def add_parser_digest(parser: Parser, source: Source) -> Source:
    """The source with the parser's own digest for it, where the parser looks results up (see ``SourceDigest``)."""
    if not isinstance(parser, SourceDigest):
        return source
    return replace(source, digest=f"{source.digest}\0{parser.source_digest(source.row.path)}")


def decode_source(source: Source) -> Source:
    """The source with its pixels, or with the reason why it cannot be used."""
    if source.bad is not None:
        return source
    try:
        return replace(source, image=decode_pixels(source.data))
    except BadImageError as error:
        return replace(source, pixels=0, bad=error)


def sources_sha256(digests: Iterable[tuple[str, str]]) -> str:
    """Hash of the image files of a shard, from pairs of image_id and :attr:`Source.digest`, in order.

    It tells whether a committed shard is still that of its images.
    """
    total = hashlib.sha256()
    for image_id, digest in digests:
        total.update(f"{image_id}\0{digest}\n".encode())
    return total.hexdigest()


def group_windows(sources: Iterable[Source], images: int) -> Iterator[list[Source]]:
    """Group in order, so that a window has at most ``images`` images and little more than :data:`BATCH_PIXELS`."""
    window: list[Source] = []
    pixels = 0
    for source in sources:
        window.append(source)
        pixels += source.pixels
        if len(window) >= images or pixels >= BATCH_PIXELS:
            yield window
            window, pixels = [], 0
    if window:
        yield window


def bucket_by_size(window: Sequence[Source], batch_size: int) -> list[list[int]]:
    """Indices of the decoded images of a window, in batches of similar height and width.

    Images of one size keep their order. A batch that pads its images to the largest wastes little this way.
    """
    shapes = {index: source.image.shape[:2] for index, source in enumerate(window) if source.image is not None}
    order = sorted(shapes, key=lambda index: (shapes[index], index))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
