"""Market-1501: ``<pid>_c<cam>s<seq>_<frame>_<n>.jpg``; pid -1 is junk and 0 a distractor, both stay in the gallery."""

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader

FOLDERS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
_NAME = compile_name(r"(-1|\d{1,18})_c(\d{1,9})s\d+_\d+_\d+")


def parse_name(path: str) -> Labels | None:
    """Labels of a file of a split's folder; None for other names."""
    match = _NAME.fullmatch(without_ending(path))
    return None if match is None else Labels(int(match[1]), int(match[2]))


@register_reader("market1501")
def read_market1501(source: Source, rows: ManifestBuilder) -> None:
    """Add the three splits."""
    for folder, split in FOLDERS.items():
        read_named_split(source.folder, folder, split, parse_name, rows)
