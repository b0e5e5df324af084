"""Atomic files and folders, hashes, JSON: nothing half-written is ever taken for finished."""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, PipelineError, WorkError
from pipeline.json_text import read_json_file
from pipeline.leftovers import in_use, remove_leftovers
from pipeline.ownership import refuse_foreign, remove_listed

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NUMBER = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
"""How libraries that are not Python's write the number of a system's error."""


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Force a closed file's bytes to disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


class DiskError(WorkError):
    """The machine cannot take what is written: the disk is full, or a limit of size is reached.

    Attributes:
        path: What was to be written.
        reason: In the system's words.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}; make room there, and run the same command again")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["DiskError"], tuple[Path | str, str]]:
        return type(self), (self.path, self.reason)


def full_disk(error: BaseException) -> str | None:
    """Why the machine cannot take what is written, if an error of the system or of a library says so."""
    if isinstance(error, DiskError):
        return error.reason
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _NUMBER.search(str(error))) is not None:
        number = int(found[1] or found[2])
    return os.strerror(number) if number in _FULL else None


def refusal(path: Path, error: OSError) -> PipelineError:
    """The error for the user when the system refuses to write at ``path``."""
    full = full_disk(error)
    if full is not None:
        return DiskError(path, full)
    return InputError(f"cannot write {path}: {error.strerror or error}")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write at ``path`` into an error for the user."""
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from error


@contextmanager
def _filled(path: Path, temporary: Path) -> Iterator[None]:
    """Name ``path`` when what is written at ``temporary`` in its place cannot be, whichever library writes it."""
    try:
        yield
    except Exception as error:
        full = full_disk(error)
        if full is not None:
            raise DiskError(path, full) from error
        if isinstance(error, OSError) and str(error.filename).startswith(str(temporary)):
            raise WorkError(f"cannot write {path}: {error.strerror or error}") from error
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at ``path``; other processes wait. The system lets go of it when a process dies."""
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{ending}")


def check_file_target(path: Path) -> None:
    """Refuse what a file cannot take the place of: a folder, or a device such as /dev/null.

    Raises:
        OSError: It is one.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, sync it and rename it into place.

    When the block raises, the temporary file is removed and ``path`` is as it was. Permissions follow the umask.

    Raises:
        InputError: Nothing can be written there.
        DiskError: The disk is full.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        check_file_target(path)
        remove_leftovers(path)
        temporary = _beside(path, "tmp")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    try:
        with in_use(temporary), _filled(path, temporary):
            yield temporary
            temporary.chmod(mode)  # some libraries put a file of their own there, which nobody else may read
            sync_file(temporary)
        with _named(path):
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, listed: Callable[[Path], Collection[str]] = lambda _: ()) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; when the block ends well, it takes the place of ``path``.

    An earlier folder at ``path`` is removed only after the new one is complete, and only if it holds nothing but what
    its own record lists. Where ``path`` is a link to a folder, that folder is replaced. Permissions follow the umask.

    Args:
        path: The folder.
        listed: Gives the files, relative, that the record of an earlier folder lists; by default none.

    Raises:
        InputError: Nothing can be written there, or the earlier folder holds something else.
        DiskError: The disk is full.
    """
    if path.is_symlink():
        path = path.resolve()
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder")
        remove_leftovers(path)
        temporary = _beside(path, "tmp")
        temporary.mkdir()
    try:
        with in_use(temporary), _filled(path, temporary):
            yield temporary
            _finish_files(temporary)
        with _named(path):
            _put_in_place(temporary, path, listed)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # made here a moment ago; renamed, it is there no more


def _finish_files(folder: Path) -> None:
    """Sync all files; give them the permissions that the folder's own, which the system chose, imply."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            file.chmod(mode)
            sync_file(file)


def _put_in_place(temporary: Path, path: Path, listed: Callable[[Path], Collection[str]]) -> None:
    if path.exists():
        names = listed(path)
        refuse_foreign(path, names)
        old = _beside(path, "old")
        old.mkdir()
        path.replace(old / path.name)
        temporary.replace(path)
        remove_listed(old / path.name, names)
        with suppress(OSError):  # what came into it at this very moment stays
            old.rmdir()
    else:
        temporary.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; ``what`` names it in errors.

    Raises:
        InputError: The file is missing, is not JSON, or exceeds the bounds of :mod:`pipeline.json_text`.
    """
    return read_json_file(path, what)


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_value(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-like value in its canonical form (sorted keys, no white space)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
