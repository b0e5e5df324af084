"""Whose a file is: the one rule by which this program removes or replaces anything.

Only what a record of the program's own lists is removed. A folder that is to be replaced and holds anything else is
refused before any work is done; a folder that is cleared keeps the rest. Links are removed, never what they lead to.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pipeline.errors import InputError

_SHOWN = 3


def _is_safe(name: str) -> bool:
    """Whether a name of a record stays inside its folder: records can come from anywhere."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _parents(names: Collection[str]) -> set[str]:
    """Folders, relative, that lead to any of the files ``names``."""
    return {str(parent) for name in names for parent in PurePosixPath(name).parents if parent.parts}


def _walk(folder: Path, prefix: str, listed: Collection[str], parents: Collection[str]) -> Iterator[str]:
    for entry in os.scandir(folder):
        name = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if name in parents:
                yield from _walk(Path(entry.path), f"{name}/", listed, parents)
            else:
                yield f"{name}/"
        elif name not in listed:
            yield name


def foreign(folder: Path, listed: Collection[str]) -> list[str]:
    """What a folder holds besides the files that a record lists.

    Args:
        folder: It need not exist.
        listed: Relative paths of files, with ``/`` between.

    Returns:
        Sorted relative paths; a folder that leads to no listed file stands for all that is in it and ends in ``/``.
    """
    if not folder.is_dir():
        return []
    names = set(listed)
    return sorted(_walk(folder, "", names, _parents(names)))


def describe_foreign(names: Collection[str]) -> str:
    """The first few names, for a message."""
    shown = sorted(names)
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")


def refuse_foreign(folder: Path, listed: Collection[str]) -> None:
    """Refuse a folder that is to be replaced and holds more than a record lists: it would be deleted.

    Raises:
        InputError: It does.
    """
    found = foreign(folder, listed)
    if found:
        raise InputError(
            f"{folder} holds what ccaf-pipeline did not write ({describe_foreign(found)}): "
            f"move it elsewhere, or choose another place"
        )


def remove_listed(folder: Path, listed: Collection[str]) -> bool:
    """Remove the files that a record lists and the folders that are empty then; everything else stays.

    Args:
        folder: It need not exist.
        listed: Relative paths of files; those that are not there, lead out of the folder or through a link are left.

    Returns:
        Whether the folder is gone.
    """
    names = [name for name in listed if _is_safe(name)]
    for name in names:
        path = folder / name
        if any((folder / parent).is_symlink() for parent in _parents([name])):
            continue
        with suppress(OSError):  # such as a folder of that name: it stays
            path.unlink()
    for parent in sorted(_parents(names), key=len, reverse=True):
        with suppress(OSError):
            (folder / parent).rmdir()
    with suppress(OSError):
        folder.rmdir()
    return not os.path.lexists(folder)
