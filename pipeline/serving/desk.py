"""What the search page can ask for, without a word of the web: rows, pictures, and searches in one gallery.

Every method may be called by several threads at once. Nothing is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.features.embedding import Encoder
from pipeline.features.feature_set import NO_ID
from pipeline.features.gallery import Gallery, plain_value, read_row
from pipeline.features.gallery_conditions import choose_rows
from pipeline.features.gallery_images import GalleryImages
from pipeline.features.queries import Query, find, known_of
from pipeline.images import decode_image, resize_image
from pipeline.reporting.pictures import Box, photo, photo_bytes, shrink_image

PICTURE_BOX: Final = Box(height=312, width=234)
"""Twice the size that pictures have on the page, for fine screens."""
LOOKS_AT_ONCE: Final = 4
SEARCHES_AT_ONCE: Final = 2
"""Pictures that are decoded, and searches that compute, at the same time; others wait. A photo may be large, and a
search uses all cores by itself."""
CONDITIONS_AT_ONCE: Final = 2
CONDITION_SECONDS: Final = 10.0
"""Expressions that are evaluated at the same time, and after how long one is interrupted; each uses all cores."""
MOST_CAMERAS: Final = 200
"""That the page offers as filters, those with most images, and that a request may name."""
MOST_TOP: Final = 200
"""Images that are shown for a query."""


class UnknownRowError(InputError):
    """A row that the gallery does not have."""


@dataclass(frozen=True)
class Choice:
    """Which images of the gallery are shown or compared.

    Attributes:
        where: An expression as of ``--where``; empty: all.
        cameras: Camera ids as texts; none: all.
    """

    where: str = ""
    cameras: Sequence[str] = ()


@dataclass(frozen=True)
class Desk:
    """One gallery, ready to be searched.

    Attributes:
        gallery: The gallery.
        images: Its pictures.
        encoder: For photos; None: only images of the gallery can be searched for.
        reason: Why there is no encoder; empty if there is one.
        base: Rows that count at all, (G,); None: all.
        where: The expression that chose them; empty: none.
        max_pixels: Larger photos are not decoded.
        top: Images for a query where nothing else is asked for.
    """

    gallery: Gallery
    images: GalleryImages
    encoder: Encoder | None
    reason: str
    base: NDArray[np.bool_] | None
    where: str
    max_pixels: int
    top: int

    _looks: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(LOOKS_AT_ONCE), repr=False, compare=False)
    _searches: BoundedSemaphore = field(
        default_factory=lambda: BoundedSemaphore(SEARCHES_AT_ONCE), repr=False, compare=False
    )

    _conditions: BoundedSemaphore = field(
        default_factory=lambda: BoundedSemaphore(CONDITIONS_AT_ONCE), repr=False, compare=False
    )

    def about(self) -> dict[str, Any]:
        """What the page says of the gallery, and what it offers."""
        ids = self.gallery.ids if self.base is None else self.gallery.ids.filter(pa.array(self.base))
        return {
            "name": self.gallery.path.name,
            "images": ids.num_rows,
            "where": self.where,
            "cameras": _counted(ids, "camera_id"),
            "columns": [name for name in ids.column_names if name not in ("row", "path")],
            "photos": self.encoder is not None,
            "reason": self.reason,
            "top": self.top,
        }

    def rows(self, choice: Choice, start: int, count: int) -> dict[str, Any]:
        """Some of the chosen rows, and how many there are.

        Raises:
            InputError: The choice is wrong, or leaves nothing.
        """
        chosen = self.chosen(choice)
        places = np.arange(len(self.gallery)) if chosen is None else np.flatnonzero(chosen)
        shown = [{"row": int(row), **known_of(self.gallery, int(row))} for row in places[start : start + count]]
        return {"total": len(places), "start": start, "rows": shown}

    def chosen(self, choice: Choice) -> NDArray[np.bool_] | None:
        """Rows that a choice leaves, (G,); None: all.

        Raises:
            InputError: The expression is wrong, or no row is left.
        """
        masks = [] if self.base is None else [self.base]
        if choice.where.strip():
            with self._conditions:
                masks.append(choose_rows(self.gallery, choice.where, CONDITION_SECONDS))
        if choice.cameras:
            masks.append(_of_cameras(self.gallery, choice.cameras))
        if not masks:
            return None
        chosen: NDArray[np.bool_] = np.logical_and.reduce(masks)
        if not chosen.any():
            raise InputError("no image of the gallery fits all that was chosen")
        return chosen

    def picture(self, row: int) -> bytes | None:
        """The image of a row as a small JPEG; None if it cannot be reached.

        Raises:
            UnknownRowError: There is no such row.
        """
        self._check(row)
        with self._looks:
            image = self.images.image(row)
            return None if image is None else photo_bytes(shrink_image(image, PICTURE_BOX))

    def search_row(self, row: int, choice: Choice, top: int) -> dict[str, Any]:
        """The images nearest to one of the gallery, which is not found by itself.

        Raises:
            UnknownRowError: There is no such row.
            InputError: The choice is wrong, or leaves nothing.
        """
        self._check(row)
        known = known_of(self.gallery, row)
        query = Query(
            str(known["image_id"] or f"row {row}"), read_row(self.gallery, row), row, plain_value(known["person_id"])
        )
        return self._search(query, choice, top) | {"query": {"row": row, **known}}

    def search_photo(self, data: bytes, choice: Choice, top: int) -> dict[str, Any]:
        """The images nearest to a photo, given as the bytes of its file.

        Raises:
            BadImageError: The bytes are no image that can be used.
            InputError: There is no encoder; or the choice is wrong, or leaves nothing.
        """
        if self.encoder is None:
            raise InputError(self.reason)
        with self._searches:
            image = decode_image(data, self.max_pixels)
            shown = photo(shrink_image(image, PICTURE_BOX), "the photo")
            pixels = resize_image(image, self.encoder.size)
            del image
            (feature,) = self.encoder.embed([pixels], [NO_ID])
        query = Query("the photo", feature)
        return self._search(query, choice, top) | {"query": {"picture": shown.uri}}

    def _search(self, query: Query, choice: Choice, top: int) -> dict[str, Any]:
        chosen = self.chosen(choice)
        with self._searches:
            found = find(self.gallery, [query], top, chosen)
        return {"searched": found.searched, "hits": found.results[0]["hits"]}

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self.gallery) or (self.base is not None and not self.base[row]):
            raise UnknownRowError(f"the gallery has no image {row}")


def _texts(ids: pa.Table, name: str) -> pa.ChunkedArray | None:
    """A column as texts; None where there is none, or none that can be."""
    if name not in ids.column_names:
        return None
    try:
        return ids[name].cast(pa.string())
    except pa.ArrowException:
        return None


def _counted(ids: pa.Table, name: str) -> list[dict[str, Any]]:
    """The values of a column with the number of their rows, numbers by size; those that stand for none are left out."""
    texts = _texts(ids, name)
    pairs = [] if texts is None else pc.value_counts(texts).to_pylist()
    known = [(pair["values"], pair["counts"]) for pair in pairs if pair["values"] not in (None, str(NO_ID))]
    most = sorted(known, key=lambda pair: -pair[1])[:MOST_CAMERAS]
    ordered = sorted(most, key=lambda pair: (0, int(pair[0]), "") if pair[0].isdecimal() else (1, 0, pair[0]))
    return [{"value": value, "images": count} for value, count in ordered]


def _of_cameras(gallery: Gallery, cameras: Sequence[str]) -> NDArray[np.bool_]:
    """Rows of some cameras, (G,).

    Raises:
        InputError: The gallery knows no cameras.
    """
    texts = _texts(gallery.ids, "camera_id")
    if texts is None:
        raise InputError(f"the gallery {gallery.path} knows no cameras: it lacks the column camera_id")
    mask: NDArray[np.bool_] = pc.is_in(texts, pa.array(list(cameras), pa.string())).to_numpy()
    return mask
