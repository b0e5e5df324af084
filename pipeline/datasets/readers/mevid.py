"""MEVID: images ``bbox_{train,test}/<pid>/<pid>O<outfit>C<camera>T<tracklet>F<frame>.jpg``, and lists of tracklets.

``{train,test}_name.txt`` has one file name a line; ``track_{train,test}_info.txt`` one tracklet a line: its first and
last name, counted from 0, person, outfit and camera, as decimal or scientific numbers. ``query_IDX.txt`` has the lines
of the test tracklets that are queries, counted from 0; the others are the gallery.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.listing import list_images
from pipeline.datasets.readers.names import compile_name
from pipeline.datasets.readers.registry import Source, register_reader
from pipeline.datasets.readers.splitfile import numbered_lines
from pipeline.errors import InputError

LISTS: Final = ("", "mevid-v1-annotation-data", "annotation/mevid-v1-annotation-data")
"""Folders below the data set's that may hold the lists."""

JUNK: Final = -1
"""Person of a tracklet that counts for nobody: it is left out."""

_NAME = compile_name(r"(\d{1,9})O(\d{1,9})C(\d{1,9})T(\d{1,9})F(\d{1,9})\.[A-Za-z]+")


class Tracklet(NamedTuple):
    """One line of a list of tracklets; ``first`` and ``last`` are lines of the list of names."""

    first: int
    last: int
    person_id: int
    outfit: int
    camera_id: int


def read_numbers(path: Path, columns: int | None = None) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the whole numbers of each line that is not empty, with the line's number from 1.

    Args:
        path: The list.
        columns: How many a line must have; None: any.

    Raises:
        InputError: The list cannot be read, or a line holds something else.
    """
    for number, line in numbered_lines(path):
        try:
            values = [float(text) for text in line.split()]
            whole = tuple(int(value) for value in values)
        except (ValueError, OverflowError):  # no number, or one that is not finite
            values, whole = [], ()
        if not whole or list(whole) != values or len(whole) != (columns or len(whole)):
            wanted = "whole numbers" if columns is None else f"{columns} whole numbers"
            raise InputError(f"split file {path}, line {number}: expected {wanted} and not {line[:60]!r}")
        yield number, whole


def read_tracklets(path: Path, names: list[str], names_file: str) -> list[Tracklet]:
    """The tracklets of a list.

    Args:
        path: The list.
        names: The file names that it counts.
        names_file: The list that they come from.

    Raises:
        InputError: A line is damaged, or does not fit the names.
    """
    tracklets = []
    for number, values in read_numbers(path, len(Tracklet._fields)):
        tracklet = Tracklet(*values)
        if not 0 <= tracklet.first <= tracklet.last < len(names):
            raise InputError(
                f"split file {path}, line {number}: names {tracklet.first} to {tracklet.last} are not among the "
                f"{len(names):,} of {names_file}, which are counted from 0"
            )
        if tracklet.person_id != JUNK:
            _check_names(names[tracklet.first], names[tracklet.last], tracklet.person_id, f"{path}, line {number}")
        tracklets.append(tracklet)
    return tracklets


def _check_names(first: str, last: str, person_id: int, where: str) -> None:
    """Check that a tracklet's names are of its person and of one camera, which its line may count otherwise."""
    matches = [_NAME.fullmatch(name) for name in (first, last)]
    found = {(int(match[1]), int(match[3])) for match in matches if match is not None}
    if None in matches or len(found) != 1 or {person for person, _ in found} != {person_id}:
        raise InputError(f"split file {where}: {first!r} to {last!r} are not of person {person_id} at one camera")


def _read_queries(path: Path, tracklets: int) -> set[int]:
    queries: set[int] = set()
    for number, values in read_numbers(path):
        wrong = [value for value in values if not 0 <= value < tracklets]
        if wrong:
            raise InputError(
                f"split file {path}, line {number}: {wrong[0]} is none of the {tracklets:,} test tracklets, which are "
                f"counted from 0"
            )
        queries.update(values)
    return queries


def _lists_folder(folder: Path) -> Path:
    found = next((folder / each for each in LISTS if (folder / each / "track_test_info.txt").is_file()), None)
    if found is None:
        raise InputError(
            f"no track_test_info.txt in {folder} or in its folder {LISTS[1]}: MEVID's annotations are a download of "
            f"their own; unpack them beside bbox_test"
        )
    return found


@register_reader("mevid")
def read_mevid(source: Source, rows: ManifestBuilder) -> None:
    """Add the splits query, gallery and train; tracklets are numbered by their lines, those of train after the others.

    Raises:
        InputError: A list is missing or damaged.
    """
    lists = _lists_folder(source.folder)
    numbered = 0
    for part in ("test", "train"):
        names_file = f"{part}_name.txt"
        names = [name for _, name in numbered_lines(lists / names_file)]
        tracklets = read_tracklets(lists / f"track_{part}_info.txt", names, names_file)
        queries = _read_queries(lists / "query_IDX.txt", len(tracklets)) if part == "test" else set()
        of_name = {
            name: line for line, tracklet in enumerate(tracklets) for name in names[tracklet.first : tracklet.last + 1]
        }
        missing = set(range(len(tracklets)))
        for path in list_images(source.folder, f"bbox_{part}", rows.notes):
            line = of_name.pop(path.rpartition("/")[2], None)
            if line is None:
                rows.unmatched.append(path)
                continue
            missing.discard(line)
            tracklet = tracklets[line]
            split = "train" if part == "train" else "query" if line in queries else "gallery"
            if tracklet.person_id != JUNK:
                labels = (tracklet.person_id, tracklet.camera_id, tracklet.outfit)
                rows.add(path, split, *labels, tracklet_id=numbered + line)
        if missing:
            rows.notes.problems.append(
                f"{len(missing)} tracklets of track_{part}_info.txt have no image in bbox_{part}, such as that of line "
                f"{min(missing) + 1}"
            )
        elif of_name:
            rows.notes.problems.append(
                f"{names_file} names {len(of_name)} images that are not in bbox_{part}, such as {min(of_name)}"
            )
        numbered += len(tracklets)
