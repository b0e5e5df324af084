"""Celeb-reID and Celeb-reID-light: ``{train,query,gallery}/<pid>_<idx>_<z>.jpg``; neither camera nor clothes labels."""

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader

_NAME = compile_name(r"(\d{1,18})_\d+_\d+")


def parse_name(path: str) -> Labels | None:
    """Labels of a file of a split's folder; the last number means nothing. None for other names."""
    match = _NAME.fullmatch(without_ending(path))
    return None if match is None else Labels(int(match[1]))


@register_reader("celeb_reid")
def read_celeb_reid(source: Source, rows: ManifestBuilder) -> None:
    """Add the three splits."""
    for split in ("train", "query", "gallery"):
        read_named_split(source.folder, split, split, parse_name, rows)
