"""CCVID: ``{train,query,gallery}.txt`` with lines ``tracklet_path pid clothes``; frames are in the tracklet folders.

The camera is the number behind ``_`` in the tracklet's name, plus 12 in session 3. Rows are frames.
"""

from pathlib import Path
from typing import NamedTuple

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.listing import list_folders, list_images
from pipeline.datasets.readers.names import compile_name
from pipeline.datasets.readers.registry import Source, register_reader
from pipeline.datasets.readers.splitfile import numbered_lines
from pipeline.errors import InputError

SPLITS = ("gallery", "query", "train")  # the order of the manifest, so that tracklet numbers rise along it
CAMERAS_BEFORE_SESSION3 = 12
_TRACKLET = compile_name(r"(session\d+)/(?:[^/]+/)*[^/_]+_(\d{1,8})[^/]*")


class Tracklet(NamedTuple):
    """One line of a split file."""

    path: str
    person_id: int
    camera_id: int
    clothes: str


def read_tracklets(path: Path) -> list[Tracklet]:
    """The tracklets of a split file, sorted by the bytes of their path.

    Raises:
        InputError: A line is not ``tracklet_path pid clothes``, or a tracklet stands there twice.
    """
    tracklets: dict[str, Tracklet] = {}
    for number, line in numbered_lines(path):
        fields = line.split()
        match = _TRACKLET.fullmatch(fields[0].rstrip("/"))
        if len(fields) != 3 or not fields[1].isdecimal() or match is None or ".." in fields[0].split("/"):
            raise InputError(
                f"split file {path}, line {number}: expected session<n>/<name>_<camera> pid clothes and not {line!r}"
            )
        camera = int(match[2]) + (CAMERAS_BEFORE_SESSION3 if match[1] == "session3" else 0)
        if match[0] in tracklets:
            raise InputError(f"split file {path}, line {number}: {match[0]} stands there twice")
        tracklets[match[0]] = Tracklet(match[0], int(fields[1]), camera, fields[2])
    return sorted(tracklets.values(), key=lambda tracklet: f"{tracklet.path}/".encode())


@register_reader("ccvid")
def read_ccvid(source: Source, rows: ManifestBuilder) -> None:
    """Add the frames of the three splits; tracklets are numbered from 0 in the order of the manifest.

    Raises:
        InputError: A split file is damaged.
    """
    number = 0
    named: set[str] = set()
    for split in SPLITS:
        listed = source.folder / f"{split}.txt"
        for tracklet in read_tracklets(listed) if listed.is_file() else []:
            named.add(tracklet.path)
            before = len(rows)
            for path in list_images(source.folder, tracklet.path, rows.notes):
                rows.add(path, split, tracklet.person_id, tracklet.camera_id, tracklet.clothes, tracklet_id=number)
            if len(rows) == before:
                rows.notes.problems.append(f"tracklet {tracklet.path} of {split}.txt has no frame")
            number += 1
    _report_unnamed(source.folder, named, rows)


def _report_unnamed(folder: Path, named: set[str], rows: ManifestBuilder) -> None:
    """Say which folders beside the tracklets are in no split file."""
    parents = sorted({path.rpartition("/")[0] for path in named})
    unnamed: list[str] = []
    for parent in parents:
        below = sorted(f"{parent}/{name}" for name in list_folders(folder / parent))
        unnamed += [path for path in below if path not in named and path not in parents]
    if unnamed:
        rows.notes.problems.append(f"{len(unnamed)} tracklet folders are in no split file, such as {unnamed[0]}")
