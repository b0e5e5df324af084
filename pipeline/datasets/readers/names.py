"""The common way of reading: list a split's folder, match every file name, add a row or note the name as unmatched."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.listing import list_images


class Labels(NamedTuple):
    """What one file name says."""

    person_id: int
    camera_id: int | None = None
    outfit: str | int | None = None
    tracklet_id: int | None = None
    clothes_id: int | None = None


def without_ending(path: str) -> str:
    """A relative path without the ending of its file name."""
    return path.rpartition(".")[0]


def read_named_split(
    folder: Path, start: str, split: str, parse: Callable[[str], Labels | None], rows: ManifestBuilder
) -> None:
    """Add every image below ``folder / start`` to ``split``.

    Args:
        folder: The data set's folder.
        start: The split's folder, relative to it.
        split: Name of the split in the manifest.
        parse: Labels of a path relative to ``start``, or None if the path does not follow the layout.
        rows: Receives rows and unmatched names.
    """
    for path in list_images(folder, start, rows.notes):
        labels = parse(path[len(start) + 1 :])
        if labels is None:
            rows.unmatched.append(path)
        else:
            rows.add(path, split, **labels._asdict())


def compile_name(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of file names; digits are ASCII digits only."""
    return re.compile(pattern, re.ASCII)
