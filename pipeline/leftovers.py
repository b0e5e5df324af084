"""Temporary files and folders that are made beside their final place, and what killed runs left of them."""

import fcntl
import glob
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNIQUE_CHARACTERS = 8
"""That temporary names differ in: ``.NAME.abcdefgh.tmp`` stands for ``NAME``."""

YOUNG_SECONDS = 60.0
"""Younger ones are left alone: their maker may not have locked them yet."""


@contextmanager
def in_use(temporary: Path) -> Iterator[None]:
    """Lock a temporary file or folder while the block lasts; the system lets go of it when the process dies.

    Where the file system knows no locks, nothing of others is removed either.
    """
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files and folders that stand for ``path`` and whose process is gone; never ``path`` itself."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'?' * UNIQUE_CHARACTERS}.tmp"):
        with suppress(OSError):
            if left.is_symlink() or time.time() - left.lstat().st_mtime < YOUNG_SECONDS:
                continue
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()
            finally:
                os.close(descriptor)
