"""LTCC: ``{train,query,test}/<pid>_<clothes>_c<cam>_<n>.png``; the folder ``test`` is the gallery."""

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader

FOLDERS = {"train": "train", "query": "query", "test": "gallery"}
_NAME = compile_name(r"(\d{1,18})_(\d{1,18})_c(\d{1,9})_[^/]+")


def parse_name(path: str) -> Labels | None:
    """Labels of a file of a split's folder; None for other names."""
    match = _NAME.fullmatch(without_ending(path))
    if match is None:
        return None
    person, outfit, camera = (int(text) for text in match.groups())
    return Labels(person, camera, outfit)


@register_reader("ltcc")
def read_ltcc(source: Source, rows: ManifestBuilder) -> None:
    """Add the three splits."""
    for folder, split in FOLDERS.items():
        read_named_split(source.folder, folder, split, parse_name, rows)
