"""The page of a search: each query with the nearest images of the gallery."""

from dataclasses import dataclass
from pathlib import Path

import pipeline
from pipeline.images import RgbImage
from pipeline.reporting.page import write_page
from pipeline.reporting.pictures import Picture, photo, shrink_image
from pipeline.reporting.ranked import RANKED_BOX

TEMPLATE = "search.html.j2"


@dataclass(frozen=True)
class Found:
    """An image on the page.

    Attributes:
        name: Of the image.
        lines: What is known of it.
        picture: Of it; None if it cannot be reached.
        right: Whether it shows the query's person; None: not known.
    """

    name: str
    lines: tuple[str, ...]
    picture: Picture | None
    right: bool | None = None


@dataclass(frozen=True)
class SearchResult:
    """A query and what was found, the nearest first."""

    query: Found
    hits: tuple[Found, ...]


@dataclass(frozen=True)
class SearchPage:
    """Everything on the page.

    Attributes:
        gallery: Name of the gallery.
        images: Number of its images.
        searched: How many were compared.
        where: The condition; empty: none.
        results: By query.
        without: Images that could not be reached.
        version: Of this program.
    """

    gallery: str
    images: int
    searched: int
    where: str
    results: tuple[SearchResult, ...]
    without: int
    version: str = pipeline.__version__


def small_picture(image: RgbImage | None, alt: str) -> Picture | None:
    """An image as the page shows it."""
    return None if image is None else photo(shrink_image(image, RANKED_BOX), alt)


def write_search_page(page: SearchPage, path: Path) -> int:
    """Write the page atomically; returns its size in bytes."""
    return write_page(page, path, TEMPLATE)
