"""Pictures of a gallery's rows, where they can be reached: by the paths of its feature file, or in shards.

A feature file may be a stranger's. What it says makes this program ask no other machine: remote images are read below
the folder that the user names, and nowhere else.
"""

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import InputError
from pipeline.features.feature_set import IMAGES_KEY, NO_ID
from pipeline.features.gallery import Gallery, plain_value
from pipeline.images import RgbImage
from pipeline.location import Location, is_file_uri, locate
from pipeline.shards.making.sources import decode_source, open_source
from pipeline.shards.reader import ShardReader
from pipeline.storage import StorageError


class GalleryImages:
    """Images of the gallery, by row. Threads may share it.

    Args:
        gallery: The gallery.
        max_pixels: Larger images are not decoded.
        images: Folder that its paths are relative to; None: as the feature file says, if that is local.
        shards: Where images are looked for by their ``image_id`` first; None: nowhere.

    Attributes:
        note: What the user should know about where pictures are looked for; empty: nothing.

    Raises:
        InputError: The shards are missing or damaged.
    """

    def __init__(
        self, gallery: Gallery, max_pixels: int, images: str | None = None, shards: Path | None = None
    ) -> None:
        self.gallery = gallery
        self.note = ""
        self._max_pixels = max_pixels
        named = images or gallery.metadata.get(IMAGES_KEY)
        self._folder: Location | None = None
        try:
            self._folder = None if named is None else locate(named)
        except InputError as error:
            if images is not None:
                raise
            self.note = f"no picture is shown: {error}"
        if images is None and self._folder is not None and self._folder.local is None:
            if shards is None:
                self.note = f"no picture is fetched from {self._folder} unless --images names it"
            self._folder = None
        self._reader = None if shards is None else ShardReader(shards, copy=False)
        self._rows = {} if self._reader is None else {name: row for row, name in enumerate(self._reader.ids.image_id)}

    def image(self, row: int) -> RgbImage | None:
        """The image of a row; None if it cannot or must not be reached, or is none."""
        place = self._rows.get(self.gallery.value("image_id", row))
        if place is not None and self._reader is not None:
            return self._reader.image(place)
        path = plain_value(self.gallery.value("path", row))
        if path is None or self._folder is None:
            return None
        try:
            inside = _path_below(self._folder, str(path))
            if inside is None:
                return None
            source = decode_source(open_source(self._folder, ManifestRow(inside, "", NO_ID), self._max_pixels))
        except (OSError, ValueError, StorageError, InputError):
            return None
        return source.image


def _path_below(folder: Location, path: str) -> str | None:
    """A row's path as one that may be read in a folder; None: it leads to where nothing may be read.

    A local path may be absolute, as those of images that were embedded one by one; a relative one stays in the folder.
    Of a URI below a remote folder the path alone counts: its options and credentials are the feature file's.

    Raises:
        ValueError, InputError: It can be no path, or none of this machine.
    """
    place = locate(path)
    if is_file_uri(path):
        path = place.uri
    if folder.local is not None:
        if place.local is None:
            return None
        leaves = not Path(path).is_absolute() and ".." in Path(path).parts
        inside = not leaves or (folder.local / path).resolve().is_relative_to(folder.local.resolve())
        return path if inside else None
    inner = PurePosixPath(path)
    if place.local is None:
        ours, theirs = urlsplit(folder.uri), urlsplit(place.uri)
        whole, base = PurePosixPath(unquote(theirs.path)), PurePosixPath(unquote(ours.path) or "/")
        if (theirs.scheme, _host(theirs.netloc)) != (ours.scheme, _host(ours.netloc)) or not whole.is_relative_to(base):
            return None
        inner = whole.relative_to(base)
    return None if inner.is_absolute() or ".." in inner.parts else str(inner)


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]
