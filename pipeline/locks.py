"""Locks: two runs never write one place at the same time, and the one that is refused learns who is there."""

import fcntl
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import InputError

_SHOWN_CHARACTERS = 160
_TRIES = 100


def lock_of(path: Path) -> Path:
    """The lock file of an output: hidden, beside it."""
    whole = path.resolve()
    return whole.with_name(f".{whole.name}.lock")


def _who() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if len(command) > _SHOWN_CHARACTERS:
        command = f"{command[:_SHOWN_CHARACTERS]}..."
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {started}: {command}"


def _busy(path: Path, descriptor: int, advice: str) -> InputError:
    holder = " ".join(os.pread(descriptor, 1000, 0).decode(errors="replace").split())
    return InputError(f"another run is using {path} ({holder or 'it only reads'}): {advice}")


def _is_current(descriptor: int, lock: Path) -> bool:
    """Whether the open file is still the one at its path: the holder before may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _acquire(path: Path, lock: Path, shared: bool, advice: str) -> int:
    """A descriptor that holds the lock.

    Raises:
        InputError: Another process has it.
        OSError: The lock file cannot be opened.
    """
    for _ in range(_TRIES):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            error = _busy(path, descriptor, advice)
            os.close(descriptor)
            raise error from None
        except OSError:
            return descriptor  # a file system without locks: better to work without than not at all
        if _is_current(descriptor, lock):
            return descriptor
        os.close(descriptor)
    raise InputError(f"the lock {lock} changes all the time; {advice}")


@contextmanager
def hold(
    path: Path, *, shared: bool = False, lock: Path | None = None, advice: str = "wait for it, or choose another place"
) -> Iterator[None]:
    """Keep other processes from writing ``path`` while the block runs; the system lets go when a process dies.

    Args:
        path: An output; it need not exist.
        shared: It is only read: others may read it at the same time, nobody may write it.
        lock: The lock file; None: :func:`lock_of` the path.
        advice: What to do when another process has it.

    Raises:
        InputError: Another process has it, which the message names; or nothing can be written there.
    """
    lock = lock_of(path) if lock is None else lock
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path, lock, shared, advice)
    except OSError as error:
        if not shared:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        yield  # a folder that cannot be written cannot change either
        return
    try:
        if not shared:
            os.ftruncate(descriptor, 0)
            with suppress(OSError):  # on a full disk the holder has no name
                os.pwrite(descriptor, _who().encode(), 0)
        yield
    finally:
        with suppress(OSError):  # whoever is alone removes the file; readers may be several
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(descriptor, lock):
                lock.unlink()
        os.close(descriptor)
