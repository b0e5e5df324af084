"""Files at any place (see :mod:`pipeline.location`): read, listed, removed, copied, and written atomically.

Local paths keep every guarantee of :mod:`pipeline.files`. An object store has no rename, but a put is atomic: an object
appears when all of it was sent, or not at all. Other remote file systems (HDFS, SFTP) are written beside and renamed.
Credentials and end points come from the environment or from the URI, as pyarrow and fsspec take them, such as
``AWS_ACCESS_KEY_ID`` and ``AWS_ENDPOINT_URL``.
"""

import fnmatch
import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.fs as pa_fs

from pipeline.errors import InputError, WorkError
from pipeline.files import atomic_file
from pipeline.json_text import MOST_BYTES, decode_json, read_json_file
from pipeline.limited_reading import FileTooLargeError, read_limited
from pipeline.location import Location, Place, locate

_BLOCK_BYTES = 8 * 1024 * 1024


class StorageError(WorkError):
    """A remote file system does not answer, or refuses; trying again later may help."""


@lru_cache(maxsize=64)
def _connect(base: str) -> tuple[Any, str]:
    """File system of a URI, and the URI's path in it."""
    try:
        return pa_fs.FileSystem.from_uri(base)  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error)
    except OSError as error:
        raise StorageError(f"{Location(base)}: {_first_line(error)}") from error
    try:
        import fsspec

        file_system, path = fsspec.core.url_to_fs(base)
    except (ImportError, ValueError, TypeError) as error:
        raise InputError(f"{Location(base)}: no file system for it ({reason}; fsspec: {error})") from error
    return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(file_system)), path


def _remote(location: Location) -> tuple[Any, str]:
    """File system and path in it; one connection for all files of a bucket."""
    parts = urlsplit(location.uri)
    root = urlunsplit((parts.scheme, parts.netloc, "", parts.query, ""))
    file_system, base = _connect(root)
    return file_system, f"{base.rstrip('/')}/{unquote(parts.path).strip('/')}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _named(location: Location) -> Iterator[None]:
    """Turn what a remote file system raises into an error with the place; a missing file stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, RuntimeError) as error:
        raise StorageError(f"{location}: {_first_line(error)}") from error


def read_bytes(place: Place, limit: int | None = None) -> bytes:
    """All bytes of a file.

    Args:
        place: The file.
        limit: Bytes that it may have; None: any number.

    Raises:
        FileNotFoundError: There is none.
        FileTooLargeError: It has more bytes than ``limit``.
        OSError: A local file cannot be read.
        StorageError: A remote file system does not answer, or refuses.
    """
    location = locate(place)
    if location.local is not None:
        return location.local.read_bytes() if limit is None else read_limited(location.local, limit)
    file_system, path = _remote(location)
    with _named(location), file_system.open_input_stream(path) as stream:
        data: bytes = stream.read() if limit is None else stream.read(limit + 1)
    if limit is not None and len(data) > limit:
        raise FileTooLargeError(None, limit)
    return data


@contextmanager
def local_copy(place: Place) -> Iterator[Path]:
    """A local file with a file's bytes: the file itself if it is local, else a copy that is removed at the end.

    Raises:
        FileNotFoundError: There is no such remote file; that a local one exists is not checked.
        StorageError: A remote file system does not answer, or refuses.
    """
    location = locate(place)
    if location.local is not None:
        yield location.local
        return
    with tempfile.NamedTemporaryFile(prefix="ccaf-", suffix=".tmp") as stream:
        file_system, path = _remote(location)
        with _named(location), file_system.open_input_stream(path) as source:
            while block := source.read(_BLOCK_BYTES):
                stream.write(block)
        stream.flush()
        yield Path(stream.name)


def open_input(place: Place) -> pa.NativeFile:
    """A file for random access, such as for ``pq.ParquetFile``; close it.

    Raises:
        FileNotFoundError, OSError, StorageError: As :func:`read_bytes`.
    """
    location = locate(place)
    if location.local is not None:
        return pa.OSFile(str(location.local), "rb")
    file_system, path = _remote(location)
    with _named(location):
        return file_system.open_input_file(path)


def file_size(place: Place) -> int | None:
    """Size of a file in bytes; None if there is no file.

    Raises:
        StorageError: A remote file system does not answer, or refuses.
    """
    location = locate(place)
    if location.local is not None:
        return location.local.stat().st_size if location.local.is_file() else None
    file_system, path = _remote(location)
    with _named(location):
        info = file_system.get_file_info(path)
    return info.size if info.type == pa_fs.FileType.File else None


def is_file(place: Place) -> bool:
    """Whether there is a file."""
    return file_size(place) is not None


def is_folder(place: Place) -> bool:
    """Whether there is a folder; in an object store: whether anything is in it."""
    location = locate(place)
    if location.local is not None:
        return location.local.is_dir()
    file_system, path = _remote(location)
    with _named(location):
        return bool(file_system.get_file_info(path).type == pa_fs.FileType.Directory)


def list_names(folder: Place, pattern: str = "*") -> list[str]:
    """Sorted names of the files in a folder that fit a pattern; none if there is no folder."""
    return sorted(fnmatch.filter(_entries(locate(folder), folders=False), pattern))


def list_sizes(folder: Place, pattern: str = "*") -> dict[str, int]:
    """Size in bytes of each file in a folder that fits a pattern, by its name; one question for all of them."""
    location = locate(folder)
    if location.local is not None:
        return {name: (location.local / name).stat().st_size for name in list_names(location, pattern)}
    sizes = {info.base_name: info.size for info in _remote_entries(location, pa_fs.FileType.File)}
    return {name: sizes[name] for name in sorted(fnmatch.filter(sizes, pattern))}


def list_folders(folder: Place, pattern: str = "*") -> list[str]:
    """Sorted names of the folders in a folder that fit a pattern; none if there is no folder."""
    return sorted(fnmatch.filter(_entries(locate(folder), folders=True), pattern))


def list_files(folder: Place) -> list[str]:
    """Sorted paths, relative and with ``/`` between names, of the files in a remote folder and all below it."""
    location = locate(folder)
    file_system, path = _remote(location)
    with _named(location):
        found = file_system.get_file_info(pa_fs.FileSelector(path, allow_not_found=True, recursive=True))
    start = f"{path.rstrip('/')}/"
    names = [info.path for info in found if info.type == pa_fs.FileType.File]
    return sorted((name.partition(start)[2] for name in names), key=str.encode)


def _entries(location: Location, folders: bool) -> list[str]:
    if location.local is not None:
        if not location.local.is_dir():
            return []
        return [entry.name for entry in os.scandir(location.local) if (entry.is_dir() if folders else entry.is_file())]
    kind = pa_fs.FileType.Directory if folders else pa_fs.FileType.File
    return [info.base_name for info in _remote_entries(location, kind)]


def _remote_entries(location: Location, kind: pa_fs.FileType) -> list[pa_fs.FileInfo]:
    file_system, path = _remote(location)
    with _named(location):
        found = file_system.get_file_info(pa_fs.FileSelector(path, allow_not_found=True))
    return [info for info in found if info.type == kind]


def remove_file(place: Place) -> None:
    """Remove a file if there is one."""
    location = locate(place)
    if location.local is not None:
        location.local.unlink(missing_ok=True)
        return
    file_system, path = _remote(location)
    try:
        with _named(location):
            file_system.delete_file(path)
    except FileNotFoundError:
        pass


def remove_empty_folder(place: Place) -> None:
    """Remove a folder if there is one and nothing is in it; what cannot be removed stays."""
    location = locate(place)
    if location.local is not None:
        with suppress(OSError):
            location.local.rmdir()
        return
    if list_names(location) or list_folders(location):
        return
    file_system, path = _remote(location)
    try:
        with _named(location):
            file_system.delete_dir(path)
    except FileNotFoundError:
        pass


def copy_file(source: Place, target: Place) -> None:
    """Copy a file within one remote file system, on its side."""
    file_system, path = _remote(locate(source))
    with _named(locate(target)):
        file_system.copy_file(path, _remote(locate(target))[1])


@contextmanager
def atomic_output(place: Place) -> Iterator[Path]:
    """Yield a temporary local path; when the block ends well, what was written there appears at ``place``, whole.

    When the block raises, nothing appears.

    Raises:
        InputError: Nothing can be written at a local place.
        StorageError: A remote file system does not answer, or refuses.
    """
    location = locate(place)
    if location.local is not None:
        with atomic_file(location.local) as temporary:
            yield temporary
        return
    descriptor, name = tempfile.mkstemp(prefix="ccaf-", suffix=".tmp")
    os.close(descriptor)
    try:
        yield Path(name)
        _put(Path(name), location)
    finally:
        Path(name).unlink(missing_ok=True)


def _put(source: Path, location: Location) -> None:
    file_system, path = _remote(location)
    folder, _, base = path.rpartition("/")
    target = path if location.object_store else f"{folder}/.{base}.{uuid.uuid4().hex}.tmp"
    with _named(location):
        if not location.object_store:
            file_system.create_dir(folder, recursive=True)
        # one write of all bytes: a stream that is closed between two writes would leave half an object
        with pa.memory_map(str(source)) as mapped:
            data = mapped.read_buffer()
            with file_system.open_output_stream(target) as stream:
                stream.write(data)
        if target != path:
            file_system.move(target, path)


def write_json(place: Place, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    with atomic_output(place) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(place: Place, what: str) -> Any:
    """Read a JSON file; ``what`` names it in errors.

    Raises:
        InputError: The file is missing, is not JSON, or exceeds the bounds (:func:`pipeline.json_text.decode_json`).
        StorageError: A remote file system does not answer, or refuses.
    """
    location = locate(place)
    if location.local is not None:
        return read_json_file(location.local, what)
    try:
        data = read_bytes(location, MOST_BYTES)
    except FileNotFoundError:
        raise InputError(f"{what} not found: {location}") from None
    except FileTooLargeError as error:
        raise InputError(f"{what} {location} is too large: {error}") from None
    return decode_json(data, f"{what} {location}")
