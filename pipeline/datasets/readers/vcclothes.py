"""VC-Clothes: ``{train,query,gallery}/<pid>-<cam>-<clothes>-<n>.jpg``, with ``-`` or ``_`` between the numbers."""

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader

_NAME = compile_name(r"(\d{1,18})[-_](\d{1,9})[-_](\d{1,18})[-_]\d+")


def parse_name(path: str) -> Labels | None:
    """Labels of a file of a split's folder; None for other names."""
    match = _NAME.fullmatch(without_ending(path))
    if match is None:
        return None
    person, camera, outfit = (int(text) for text in match.groups())
    return Labels(person, camera, outfit)


@register_reader("vcclothes")
def read_vcclothes(source: Source, rows: ManifestBuilder) -> None:
    """Add the three splits."""
    for split in ("train", "query", "gallery"):
        read_named_split(source.folder, split, split, parse_name, rows)
