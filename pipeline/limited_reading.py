"""Reads a file up to a number of bytes: a file of any size, or one that never ends, costs no more than that."""

import errno
import os
import stat
from pathlib import Path


class FileTooLargeError(ValueError):
    """A file has more bytes than are read of one of its kind.

    Attributes:
        size: Its bytes; None where the file has grown, or the place that it is read from does not tell.
        limit: The bytes that are allowed.
    """

    def __init__(self, size: int | None, limit: int) -> None:
        super().__init__(f"{'the file' if size is None else f'{size:,} bytes'} exceeds the limit of {limit:,} bytes")
        self.size = size
        self.limit = limit


def read_limited(path: Path, limit: int, special: bool = False) -> bytes:
    """All bytes of a file; its size is looked at before anything is read.

    Args:
        path: The file.
        limit: Bytes that it may have.
        special: Whether it may be a pipe or a device, such as a shell gives for ``<(command)``. A pipe is waited for.

    Raises:
        FileTooLargeError: It has more.
        OSError: It cannot be read, or is no regular file and not ``special``.
        ValueError: No file can have that name.
    """
    # without waiting: opening a named pipe would otherwise wait for a writer for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if special else os.O_NONBLOCK))
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not special and not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        if status.st_size > limit:
            raise FileTooLargeError(status.st_size, limit)
        data = stream.read(limit + 1)  # it may have grown since
    if len(data) > limit:
        raise FileTooLargeError(None, limit)
    return data
