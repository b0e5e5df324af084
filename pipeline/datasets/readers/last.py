"""LaST: ``train/<pid>/*.jpg``, ``{val,test}/query/*.jpg``, ``{val,test}/gallery/<pid>/*.jpg``.

A file is named ``<pid>_..._<outfit>``; only in the training set is the last field an outfit. There are no cameras.
"""

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader

_TRAIN_NAME = compile_name(r"(\d{1,18})/(\d{1,18})_(?:[^/]*_)?([^/_]+)")
_QUERY_NAME = compile_name(r"(\d{1,18})(?:_[^/]*)?")
_GALLERY_NAME = compile_name(r"(\d{1,18})/(?:(\d{1,18})_)?[^/]+")


class _Names:
    """Parses names, and counts files whose folder names another identity than the file does."""

    def __init__(self) -> None:
        self.astray: list[str] = []

    def train(self, path: str) -> Labels | None:
        """Labels of a path below ``train``."""
        match = _TRAIN_NAME.fullmatch(without_ending(path))
        if match is None:
            return None
        self._compare(path, match[1], match[2])
        return Labels(int(match[2]), outfit=match[3])

    def query(self, path: str) -> Labels | None:
        """Labels of a path below a query folder."""
        match = _QUERY_NAME.fullmatch(without_ending(path))
        return None if match is None else Labels(int(match[1]))

    def gallery(self, path: str) -> Labels | None:
        """Labels of a path below a gallery folder; the folder decides where the file names nobody."""
        match = _GALLERY_NAME.fullmatch(without_ending(path))
        if match is None:
            return None
        self._compare(path, match[1], match[2] or match[1])
        return Labels(int(match[2] or match[1]))

    def _compare(self, path: str, folder: str, name: str) -> None:
        if int(folder) != int(name):
            self.astray.append(path)


@register_reader("last")
def read_last(source: Source, rows: ManifestBuilder) -> None:
    """Add the splits train, val_query, val_gallery, query and gallery (the last two are the test set's)."""
    names = _Names()
    read_named_split(source.folder, "train", "train", names.train, rows)
    for part, prefix in (("val", "val_"), ("test", "")):
        read_named_split(source.folder, f"{part}/query", f"{prefix}query", names.query, rows)
        read_named_split(source.folder, f"{part}/gallery", f"{prefix}gallery", names.gallery, rows)
    if names.astray:
        rows.notes.problems.append(
            f"{len(names.astray)} files stand in the folder of another identity, such as {names.astray[0]}; "
            "the file names were believed"
        )
