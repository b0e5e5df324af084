"""LaST: ``train/<pid>/*.jpg``, ``{val,test}/query/*.jpg``, ``{val,test}/gallery/<pid>/*.jpg``.

A file is named ``<pid>_..._<outfit>``; only in the training set is the last field an outfit. There are no cameras.
"""

from collections.abc import Callable

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader

_TRAIN_NAME = compile_name(r"(\d{1,18})/(\d{1,18})_(?:[^/]*_)?([^/_]+)")
_QUERY_NAME = compile_name(r"(\d{1,18})(?:_[^/]*)?")
_GALLERY_NAME = compile_name(r"(\d{1,18})/(?:(\d{1,18})_)?[^/]+")


def parse_train_name(path: str) -> Labels | None:
    """Labels of a path below ``train``; None for other names."""
    match = _TRAIN_NAME.fullmatch(without_ending(path))
    return None if match is None else Labels(int(match[2]), outfit=match[3])


def parse_query_name(path: str) -> Labels | None:
    """Labels of a path below a query folder; None for other names."""
    match = _QUERY_NAME.fullmatch(without_ending(path))
    return None if match is None else Labels(int(match[1]))


def parse_gallery_name(path: str) -> Labels | None:
    """Labels of a path below a gallery folder; the folder decides where the file names nobody. None for other names."""
    match = _GALLERY_NAME.fullmatch(without_ending(path))
    return None if match is None else Labels(int(match[2] or match[1]))


@register_reader("last")
def read_last(source: Source, rows: ManifestBuilder) -> None:
    """Add the splits train, val_query, val_gallery, query and gallery (the last two are the test set's)."""
    astray: list[str] = []

    def add(start: str, split: str, parse: Callable[[str], Labels | None]) -> None:
        def parse_and_compare(path: str) -> Labels | None:
            labels = parse(path)
            if labels is not None and "/" in path and int(path.partition("/")[0]) != labels.person_id:
                astray.append(f"{start}/{path}")
            return labels

        read_named_split(source.folder, start, split, parse_and_compare, rows)

    add("train", "train", parse_train_name)
    for part, prefix in (("val", "val_"), ("test", "")):
        add(f"{part}/query", f"{prefix}query", parse_query_name)
        add(f"{part}/gallery", f"{prefix}gallery", parse_gallery_name)
    if astray:
        rows.notes.problems.append(
            f"{len(astray)} files stand in the folder of another identity, such as {astray[0]}; "
            "the file names were believed"
        )
