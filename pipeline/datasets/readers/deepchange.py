"""DeepChange: five folders of ``<pid>_<cam>_<day>_<hour>*.jpg`` and for each a list of ``name.jpg,tracklet``.

Person and camera may carry a letter (``P12_C3_...``). Clothes are not labelled: (person, day) stands for them.
"""

from pathlib import Path

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader
from pipeline.datasets.readers.splitfile import numbered_lines
from pipeline.errors import InputError

FOLDERS = {
    "train-set": "train",
    "val-set-query": "val_query",
    "val-set-gallery": "val_gallery",
    "test-set-query": "query",
    "test-set-gallery": "gallery",
}
_NAME = compile_name(r"[A-Za-z]?(\d{1,18})_[A-Za-z]?(\d{1,9})_([^/_]+)_[^/]+")


def parse_name(path: str, tracklet_id: int | None = None) -> Labels | None:
    """Labels of a file of a split's folder; None for other names."""
    match = _NAME.fullmatch(without_ending(path))
    if match is None:
        return None
    return Labels(int(match[1]), int(match[2]), outfit=match[3], tracklet_id=tracklet_id)


def read_tracklets(path: Path) -> dict[str, int]:
    """Tracklet numbers by file name.

    Raises:
        InputError: A line is not ``name,number``, or a name stands there twice.
    """
    tracklets: dict[str, int] = {}
    for number, line in numbered_lines(path):
        name, _, text = line.rpartition(",")
        if not name or not text.strip().isdecimal():
            raise InputError(f"split file {path}, line {number}: expected name.jpg,tracklet and not {line!r}")
        if name in tracklets:
            raise InputError(f"split file {path}, line {number}: {name} stands there twice")
        tracklets[name] = int(text)
    return tracklets


@register_reader("deepchange")
def read_deepchange(source: Source, rows: ManifestBuilder) -> None:
    """Add the splits train, val_query, val_gallery, query and gallery.

    An image that its list does not name is unmatched; without a list (reported as missing) there are no tracklets.

    Raises:
        InputError: A list is damaged.
    """
    for folder, split in FOLDERS.items():
        listed = source.folder / f"{folder}-bbox.txt"
        if not listed.is_file():
            read_named_split(source.folder, folder, split, parse_name, rows)
            continue
        tracklets = read_tracklets(listed)

        def parse(path: str, tracklets: dict[str, int] = tracklets) -> Labels | None:
            tracklet = tracklets.pop(path, None)
            return None if tracklet is None else parse_name(path, tracklet)

        read_named_split(source.folder, folder, split, parse, rows)
        if tracklets:
            rows.notes.problems.append(
                f"{listed.name} names {len(tracklets)} images that are not in {folder}, such as {min(tracklets)}"
            )
