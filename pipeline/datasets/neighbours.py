"""Looks around a folder for what should be in it: people often name the folder above the right one, or below it."""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from pipeline.datasets.listing import list_folders
from pipeline.errors import InputError

LEVELS = 2
LOOKED_INTO = 100
"""Folders looked at in one folder, so that a large file system costs no time."""


def folders_near(folder: Path) -> Iterator[Path]:
    """The folders above ``folder``, two levels up, and those below it, two levels down; the nearest first."""
    folder = folder.absolute()
    yield from islice(folder.parents, LEVELS)
    level = [folder]
    for _ in range(LEVELS):
        level = [above / name for above in level[:LOOKED_INTO] for name in list_folders(above)[:LOOKED_INTO]]
        yield from level


def find_near(folder: Path, right: Callable[[Path], bool]) -> Path | None:
    """The nearest folder around ``folder`` that is the right one, or None."""
    return next((near for near in folders_near(folder) if right(near)), None)


def check_level(folder: Path, paths: Sequence[str]) -> None:
    """Refuse a folder in which none of some images is, where a folder above or below it has them.

    Raises:
        InputError: It is so; the message names the right folder.
    """

    def holds(base: Path) -> bool:
        return any(is_regular_file(base, path) for path in paths)

    if paths and not holds(folder) and (near := find_near(folder, holds)) is not None:
        raise InputError(f"there is no image {paths[0]} in {folder}: the images are below {near}")


def is_regular_file(folder: Path, path: str) -> bool:
    """Whether a path below a folder, as a table has it, is a file's."""
    try:
        return os.path.isfile(os.path.join(folder, path))  # noqa: PTH113, PTH118 (a Path per row is slow)
    except ValueError:  # a zero character
        return False
