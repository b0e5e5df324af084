"""Lists the images of a folder tree: the same order everywhere, links without loops, nothing dropped silently."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

IMAGE_ENDINGS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass
class ListingNotes:
    """What a listing met beside images. Paths are relative to the data set's folder.

    Attributes:
        others: Files that are no images by their ending, and hidden files.
        problems: Sentences about what could not be listed: unreadable folders, broken links, links that loop.
    """

    others: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image (in any case) and is not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_ENDINGS  # noqa: PTH122


def list_images(folder: Path, start: str, notes: ListingNotes) -> Iterator[str]:
    """Yield the images below ``folder / start``, sorted by the bytes of their POSIX path.

    Links to files count as files. A link to a folder is followed once: not when it leads to a folder that contains it
    (a loop), nor when the listing reaches that folder in another way. Memory holds one chain of folders at a time.

    Args:
        folder: The data set's folder.
        start: Folder below it, with ``/`` between names; it may be a link. Nothing is yielded if it does not exist.
        notes: Receives the names of other files and the problems.

    Yields:
        Paths relative to ``folder``, with ``/`` between names.
    """
    top = folder / start
    if top.is_dir():
        real_top = os.path.realpath(top)
        yield from _list_folder(str(folder), start, [real_top], {real_top}, notes)


def list_folders(folder: Path) -> list[str]:
    """Names of the folders directly in ``folder``, sorted; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []


def _list_folder(
    folder: str, relative: str, chain: list[str], followed: set[str], notes: ListingNotes
) -> Iterator[str]:
    """Yield the images below one folder; ``chain`` holds the real paths of the start and of every link above."""
    try:
        names, links = _sorted_entries(os.path.join(folder, relative))  # noqa: PTH118 (a Path per file is slow)
    except OSError as error:
        notes.problems.append(f"folder {relative} cannot be read: {error.strerror or error}")
        return
    for raw in names:
        path = f"{relative}/{os.fsdecode(raw).rstrip('/')}"
        if not raw.endswith(b"/"):
            if raw in links and not os.path.exists(os.path.join(folder, path)):  # noqa: PTH110, PTH118
                notes.problems.append(f"link {path} leads nowhere")
            elif is_image_name(path.rpartition("/")[2]):
                yield path
            else:
                notes.others.append(path)
        elif raw not in links:
            yield from _list_folder(folder, path, chain, followed, notes)
        else:
            real = os.path.realpath(os.path.join(folder, path))  # noqa: PTH118
            here = os.path.realpath(os.path.join(folder, relative))  # noqa: PTH118
            if _contains(real, here) or any(_contains(real, above) for above in chain):
                notes.problems.append(f"link {path} leads back to a folder that contains it and was not followed")
            elif any(_contains(listed, real) for listed in followed):
                notes.problems.append(f"link {path} leads to a folder that is listed already and was not followed")
            else:
                followed.add(real)
                yield from _list_folder(folder, path, [*chain, real], followed, notes)


def _sorted_entries(folder: str) -> tuple[list[bytes], set[bytes]]:
    """Names in a folder, sorted, and which of them are links.

    A folder's name ends in a slash, which counts in the order, so that whole paths come out sorted.
    """
    names, links = [], set()
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            name = entry.name + b"/" if _is_folder(entry) else entry.name
            names.append(name)
            if entry.is_symlink():
                links.add(name)
    names.sort()
    return names, links


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where we may not look
        return False


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")
