"""Pictures of a gallery's rows, where they can be reached: by the paths of its feature file, or in shards."""

from pathlib import Path

from pipeline.datasets.manifest import ManifestRow
from pipeline.features.feature_set import IMAGES_KEY, NO_ID
from pipeline.features.gallery import Gallery, plain_value
from pipeline.features.image_list import open_item
from pipeline.images import DEFAULT_MAX_PIXELS, RgbImage
from pipeline.location import Location, locate
from pipeline.shards.making.sources import decode_source
from pipeline.shards.reader import ShardReader
from pipeline.storage import StorageError


class GalleryImages:
    """Images of the gallery, by row. Threads may share it.

    Args:
        gallery: The gallery.
        images: Folder that its paths are relative to; None: as the feature file says.
        shards: Where images are looked for by their ``image_id`` first; None: nowhere.

    Raises:
        InputError: The shards are missing or damaged.
    """

    def __init__(self, gallery: Gallery, images: str | None = None, shards: Path | None = None) -> None:
        self.gallery = gallery
        named = images or gallery.metadata.get(IMAGES_KEY)
        self._folder: Location | None = None if named is None else locate(named)
        self._reader = None if shards is None else ShardReader(shards, copy=False)
        self._rows = {} if self._reader is None else {name: row for row, name in enumerate(self._reader.ids.image_id)}

    def image(self, row: int) -> RgbImage | None:
        """The image of a row; None if it cannot be reached, or is none."""
        place = self._rows.get(self.gallery.value("image_id", row))
        if place is not None and self._reader is not None:
            return self._reader.image(place)
        path = plain_value(self.gallery.value("path", row))
        if path is None or self._folder is None:
            return None
        try:
            source = decode_source(open_item(self._folder, ManifestRow(path, "", NO_ID), None, DEFAULT_MAX_PIXELS))
        except (OSError, StorageError):
            return None
        return source.image
