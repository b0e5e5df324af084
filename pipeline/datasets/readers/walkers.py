"""Walkers, the rendered data set: ``{train,query,gallery}/<pid>_<outfit>_c<cam>_<n>.png`` (or .jpg)."""

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader

OUTFITS_A_PERSON = 1000  # clothes_id = person_id * 1000 + outfit
_NAME = compile_name(r"(\d{1,9})_(\d{1,3})_c(\d{1,9})_\d+")


def parse_name(path: str) -> Labels | None:
    """Labels of a file of a split's folder; None for other names."""
    match = _NAME.fullmatch(without_ending(path))
    if match is None:
        return None
    person, outfit, camera = (int(text) for text in match.groups())
    return Labels(person, camera, clothes_id=person * OUTFITS_A_PERSON + outfit)


@register_reader("walkers")
def read_walkers(source: Source, rows: ManifestBuilder) -> None:
    """Add the three splits; the folder ``labels/`` beside them (pixel labels) is none."""
    for split in ("train", "query", "gallery"):
        read_named_split(source.folder, split, split, parse_name, rows)
