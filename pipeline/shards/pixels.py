"""Decoded images at one size as memory-mapped arrays: what training reads instead of decoding again and again.

For each view (raw, shielding or clothes image) there is one ``.npy`` file of uint8, shape (images, 3, height, width):
``numpy.load(path, mmap_mode="r")`` opens it. Views are rendered at the original size and then resized, so that reading
here and rendering again give the same bytes. A file's name is bound to the hash of the record, the images that are in
it, the size, the fill and the version of the decoder. It is made once: one process builds, others wait and use it; what
a killed process had finished is kept, and the next one goes on from there.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Artifact, Count, read_json_artifact
from pipeline.errors import BadImageError, InputError, WorkError
from pipeline.files import locked, sha256_of_value, sync_folder, write_json
from pipeline.images import Mask, RgbImage, resize_image
from pipeline.location import Place, locate
from pipeline.overlap import map_ahead
from pipeline.parsing.masks import Fill, clothes_image, shielding_image
from pipeline.shards.cache import pixels_prefix

View = Literal["raw", "shielding", "clothes"]
VIEWS: tuple[View, ...] = get_args(View)
Planes = NDArray[np.uint8]
"""Images as the files hold them: (B, 3, height, width), RGB."""

RENDER_VERSION = 1
"""Raised whenever the same image and mask would give other pixels."""
KEEP_FREE_BYTES = 1 << 30
"""Room that is left on the disk, whatever is built."""
SYNC_BYTES = 256 << 20
"""So much is written between two notes of how far a build has come."""


class ImageSource(Protocol):
    """Random access to parsed images, as a shard reader gives it. It must be thread-safe."""

    def image(self, index: int) -> RgbImage:
        """The original image, uint8 (height, width, 3)."""

    def mask(self, index: int) -> Mask:
        """Its clothes mask, boolean (height, width)."""


def render(
    source: ImageSource, index: int, size: tuple[int, int], fill: Fill, views: Sequence[View]
) -> list[NDArray[np.uint8]]:
    """Decode one image and make views of it at ``size`` (height, width): uint8 (3, height, width) each."""
    image = source.image(index)
    mask = source.mask(index) if any(view != "raw" for view in views) else None
    made = []
    for view in views:
        if view == "raw" or mask is None:
            full = image
        else:
            full = shielding_image(image, mask, fill) if view == "shielding" else clothes_image(image, mask, fill)
        made.append(np.ascontiguousarray(resize_image(full, size).transpose(2, 0, 1)))
    return made


@dataclass(frozen=True)
class PixelFiles:
    """The array files of some images of a shard folder at one size; they need not exist yet.

    Attributes:
        folder: Where they are kept.
        shards: The shard folder (its path tells files of other folders apart).
        content_sha256: Hash of its record.
        rows: Indices of the images in it, in the order of the file, (N,).
        size: Height and width in pixels.
        fill: What covered pixels are painted with.
    """

    folder: Path
    shards: Place
    content_sha256: str
    rows: NDArray[np.int64]
    size: tuple[int, int]
    fill: Fill

    @property
    def prefix(self) -> str:
        """Begins the names of all files of the shard folder, whatever its content."""
        return pixels_prefix(locate(self.shards))

    @property
    def content(self) -> str:
        """Follows :attr:`prefix` in the names of files of the present content."""
        return f"{self.content_sha256[:16]}-"

    @cached_property
    def key(self) -> str:
        """Begins the names of these files."""
        rows = hashlib.sha256(np.ascontiguousarray(self.rows, dtype="<i8").tobytes()).hexdigest()
        made_by = sha256_of_value([rows, RENDER_VERSION, cv2.__version__, self.content_sha256])[:16]
        return f"{self.prefix}{self.content}{made_by}-{self.size[0]}x{self.size[1]}"

    def path(self, view: View) -> Path:
        """The file of a view."""
        return self.folder / f"{self.key}-{view if view == 'raw' else f'{view}-{self.fill}'}.npy"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the array in each file."""
        return (len(self.rows), 3, *self.size)

    @property
    def bytes_of_view(self) -> int:
        """Size of one file without its header."""
        return int(np.prod(self.shape, dtype=np.int64))

    def missing(self, views: Sequence[View]) -> list[View]:
        """Those of ``views`` that have no file."""
        return [view for view in views if not self.path(view).is_file()]

    def lacking_room(self, views: Sequence[View], limit_bytes: float) -> str | None:
        """Why the missing files of ``views`` cannot be made; None if they can."""
        missing = self.missing(views)
        needed = len(missing) * self.bytes_of_view
        if not missing:
            return None
        what = (
            f"{len(self.rows)} decoded images at {self.size[0]}x{self.size[1]} ({', '.join(missing)}) need "
            f"{needed / 1e9:.1f} GB in {self.folder}"
        )
        if needed > limit_bytes:
            return f"{what}; loading.gigabytes allows {limit_bytes / 1e9:.1f}"
        existing = next(path for path in (self.folder, *self.folder.resolve().parents) if path.exists())
        begun = sum(_allocated(_partial(self.path(view))) for view in missing)
        free = shutil.disk_usage(existing).free - KEEP_FREE_BYTES
        if needed - begun > free:
            return f"{what}; the disk has room for {max(free, 0) / 1e9:.1f}"
        return None


class PixelCache:
    """Opened array files; reading is a gather out of a memory map. Thread-safe, cheap to pickle.

    Args:
        files: The files.
        views: Those to open; they must exist.

    Raises:
        InputError: A file is damaged.
    """

    def __init__(self, files: PixelFiles, views: Sequence[View]) -> None:
        self.files = files
        self._arrays = {view: _open_array(files.path(view), files.shape) for view in views}
        self._positions = np.full(int(files.rows.max()) + 1 if len(files.rows) else 0, -1, dtype=np.int64)
        self._positions[files.rows] = np.arange(len(files.rows))

    def __reduce__(self) -> tuple[type["PixelCache"], tuple[PixelFiles, list[View]]]:
        return type(self), (self.files, list(self._arrays))

    @property
    def views(self) -> tuple[View, ...]:
        """What can be read."""
        return tuple(self._arrays)

    def positions(self, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Where images of the shard folder are in the files; None if one of them is not there."""
        if not len(indices) or indices.min() < 0 or indices.max() >= len(self._positions):
            return None
        positions: NDArray[np.int64] = self._positions[indices]
        return positions if positions.min() >= 0 else None

    def read(self, view: View, positions: NDArray[np.int64], out: Planes) -> Planes:
        """Copy images out of a view's file into ``out``, (B, 3, height, width)."""
        # positions are valid already; "raise" would copy everything once more
        return np.take(self._arrays[view], positions, axis=0, out=out, mode="clip")


def _open_array(path: Path, shape: tuple[int, ...]) -> Planes:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete that file and try again") from error
    if array.shape != shape or array.dtype != np.uint8:
        raise InputError(
            f"{path} holds {array.dtype} {array.shape}, expected uint8 {shape}: delete that file and try again"
        )
    plain: Planes = array.view(np.ndarray)  # the same memory map without the subclass, whose indexing is slower
    return plain


def open_pixels(
    source: ImageSource,
    files: PixelFiles,
    views: Sequence[View],
    threads: int = 0,
    report: Callable[[int], None] = lambda _: None,
) -> PixelCache:
    """Open the array files of ``views``, after making those that are missing.

    Args:
        source: The shard folder's images.
        files: Which files.
        views: Which views.
        threads: Threads that decode; 0: one for each CPU of this process.
        report: Called with a number of images when they were rendered, those of an earlier build included.

    Raises:
        InputError: An image of the shards cannot be decoded.
        WorkError: The files cannot be written.
    """
    if files.missing(views):
        try:
            files.folder.mkdir(parents=True, exist_ok=True)
            with locked(files.folder / f".{files.key}.lock"):
                missing = files.missing(views)
                if missing:
                    _remove_stale(files)
                    _build(source, files, missing, threads or len(os.sched_getaffinity(0)), report)
        except BadImageError as error:
            raise InputError(
                f"an image in {files.shards} cannot be decoded ({error}); run ccaf-pipeline parse --verify"
            ) from error
        except OSError as error:
            raise WorkError(
                f"decoded images cannot be written to {files.folder} ({error.strerror or error}); free space there, "
                f"name another folder in $CCAF_CACHE, or set loading.pixels=never"
            ) from error
    return PixelCache(files, views)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.is_file() else 0


def _progress(files: PixelFiles) -> Path:
    return files.folder / f".{files.key}.progress"


def _remove_stale(files: PixelFiles) -> None:
    """Remove what was made of earlier content of the same shard folder, and half-written notes of a killed build.

    The caller holds the lock of these files: no other process is writing such a note.
    """
    for path in files.folder.iterdir():
        name = path.name.lstrip(".")
        earlier = name.startswith(files.prefix) and not name.startswith(files.prefix + files.content)
        if earlier or path.name.startswith(f".{_progress(files).name}."):
            path.unlink(missing_ok=True)


def _header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


class _Note(Artifact):
    """How far a build has come."""

    images: Count
    views: list[str]


def _done_before(progress: Path, files: PixelFiles, views: Sequence[View], size: int) -> int:
    """Images that an interrupted build had rendered and synced, of all of ``views``."""
    try:
        note = read_json_artifact(progress, "note of a build", _Note)
    except InputError:  # there is none, or it is damaged: the build is begun anew
        return 0
    done, known = note.images, set(note.views)
    partials = [_partial(files.path(view)) for view in views]
    whole = all(path.is_file() and path.stat().st_size == size for path in partials)
    return done if whole and set(views) <= known and done <= len(files.rows) else 0


def _build(
    source: ImageSource, files: PixelFiles, views: Sequence[View], threads: int, report: Callable[[int], None]
) -> None:
    header = _header(files.shape)
    one = 3 * files.size[0] * files.size[1]
    progress = _progress(files)
    done = _done_before(progress, files, views, len(header) + files.bytes_of_view)
    if not done:
        progress.unlink(missing_ok=True)
    report(done)
    with ExitStack() as stack:
        streams = {view: _open_partial(files, view, header, stack) for view in views}
        rendered = _render_ahead(source, files, views, done, threads, stack)
        unsynced = 0
        for position, made in enumerate(rendered, start=done):
            for view, planes in zip(views, made, strict=True):
                os.pwrite(streams[view], planes.data, len(header) + position * one)
            report(1)
            unsynced += one * len(views)
            if unsynced >= SYNC_BYTES:
                _note(progress, streams, position + 1)
                unsynced = 0
        _note(progress, streams, len(files.rows))
    for view in views:
        _partial(files.path(view)).replace(files.path(view))
    sync_folder(files.folder)
    progress.unlink(missing_ok=True)


def _open_partial(files: PixelFiles, view: View, header: bytes, stack: ExitStack) -> int:
    """Open the unfinished file of a view with all its room reserved, so that a full disk shows at once."""
    descriptor = os.open(_partial(files.path(view)), os.O_RDWR | os.O_CREAT, 0o666)
    stack.callback(os.close, descriptor)
    total = len(header) + files.bytes_of_view
    os.ftruncate(descriptor, total)
    os.posix_fallocate(descriptor, 0, total)
    os.pwrite(descriptor, header, 0)
    return descriptor


def _render_ahead(
    source: ImageSource, files: PixelFiles, views: Sequence[View], start: int, threads: int, stack: ExitStack
) -> Iterator[list[NDArray[np.uint8]]]:
    pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="render"))
    rows = (int(row) for row in files.rows[start:])
    return map_ahead(pool, lambda row: render(source, row, files.size, files.fill, views), rows, 8 * threads)


def _note(progress: Path, streams: Mapping[View, int], images: int) -> None:
    """Sync what is written, then say so: a note never promises pixels that a power cut could take."""
    for descriptor in streams.values():
        os.fsync(descriptor)
    write_json(progress, {"images": images, "views": sorted(streams)})
