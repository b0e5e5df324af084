"""The search stage: the images of a gallery that are nearest to some queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.columns import as_columns
from pipeline.config import Parameters
from pipeline.errors import BadImageError, InputError, one_line
from pipeline.features.array_files import ARRAY_READERS
from pipeline.features.builder import made_by
from pipeline.features.embedding import Encoder
from pipeline.features.feature_set import NO_ID, read_vectors
from pipeline.features.formats import open_columns
from pipeline.features.gallery import Gallery, open_gallery, plain_value, read_row
from pipeline.features.gallery_conditions import choose_rows
from pipeline.features.gallery_images import GalleryImages
from pipeline.features.image_list import list_inputs, open_item
from pipeline.features.queries import Findings, Query, check_made, find, settings_of
from pipeline.images import resize_image
from pipeline.location import locate
from pipeline.outputs import check_output
from pipeline.reporting.page import GENERATOR
from pipeline.reporting.search_page import Found, SearchPage, SearchResult, small_picture, write_search_page
from pipeline.shards.making.sources import decode_source
from pipeline.storage import is_file, is_folder
from stages.console import Console
from stages.embed import feature_settings, open_encoder


@dataclass(frozen=True)
class How:
    """What is searched for, and how.

    Attributes:
        queries: Image files, folders, tables, feature files, or image ids of the gallery.
        checkpoint: Encoder of the queries; None: the CLIP of the parameters, before any training.
        chosen: Whether the user named that encoder.
        top: Images of the gallery for each query.
        where: Condition on the gallery's columns; None: none.
        html: Page to write.
        images: Folder that the gallery's paths are relative to; None: as its file says.
        shards: For pictures of images that are in shards.
    """

    queries: Sequence[str]
    checkpoint: Path | None
    chosen: bool
    top: int = 10
    where: str | None = None
    html: Path | None = None
    images: str | None = None
    shards: Path | None = None


def run(parameters: Parameters, console: Console, gallery: Path, how: How) -> dict[str, Any]:
    """Search; returns what was found.

    Args:
        parameters: All of them.
        console: For remarks.
        gallery: Feature file.
        how: What is searched for.

    Raises:
        InputError: The gallery, a query, the condition or the checkpoint is wrong; or the query's features are not of
            the gallery's encoder.
    """
    if how.html is not None:
        check_output(how.html, "html", [GENERATOR], inputs=[gallery, *map(Path, how.queries)])
    opened = open_gallery(gallery)
    chosen = None if how.where is None else choose_rows(opened, how.where)
    pictures = None if how.html is None else _open_pictures(parameters, console, opened, how)
    asked = _Asked(parameters, console, opened, how, pictures)
    queries = [query for text in how.queries for query in asked.queries(text)]
    found = find(opened, queries, how.top, chosen, console.quiet)
    if how.html is not None and pictures is not None:
        _write_page(how.html, pictures, how.where or "", queries, found)
        console.say(f"page -> {how.html}")
    return {"gallery": str(gallery), "images": len(opened), "searched": found.searched, "results": list(found.results)}


def _open_pictures(parameters: Parameters, console: Console, gallery: Gallery, how: How) -> GalleryImages:
    pictures = GalleryImages(gallery, parameters.parse.max_pixels, how.images, how.shards)
    if pictures.note:
        console.say(f"warning: {pictures.note}")
    return pictures


def result_table(result: Mapping[str, Any]) -> str:
    """What was found, aligned; one block a query."""
    blocks = []
    for entry in result["results"]:
        lines = [["rank", "similarity", "person", "camera", "clothes", "role", "image"]]
        for hit in entry["hits"]:
            ids = [hit[name] for name in ("person_id", "camera_id", "clothes_id", "role")]
            texts = ["-" if value is None else one_line(value) for value in ids]
            image = one_line(hit["image_id"] or hit["row"])
            lines.append([str(hit["rank"]), f"{hit['similarity']:.4f}", *texts, image])
        blocks.append(f"{one_line(entry['query']['name'])}\n{as_columns(lines, numbers=False)}")
    return "\n\n".join(blocks)


class _Asked:
    """Makes queries of what the user named; the encoder is opened for the first one that needs it."""

    def __init__(
        self, parameters: Parameters, console: Console, gallery: Gallery, how: How, pictures: GalleryImages | None
    ) -> None:
        self._parameters, self._console, self._gallery, self._how = parameters, console, gallery, how
        self._pictures = pictures
        self._encoder: Encoder | None = None

    def queries(self, text: str) -> list[Query]:
        """The queries that a text names.

        Raises:
            InputError: It names nothing, or its features are not of the gallery's encoder.
        """
        place = locate(text)
        exists = is_file(place) or is_folder(place) or bool(set("*?[") & set(text))
        if not exists:
            row = self._gallery.row_of(text)
            if row is None:
                raise InputError(f"--query {text}: it is no file or folder, and no image_id of {self._gallery.path}")
            person = plain_value(self._gallery.value("person_id", row))
            image = None if self._pictures is None else self._pictures.image(row)
            return [Query(text, read_row(self._gallery, row), row, person, image)]
        if place.local is not None and place.local.suffix.lower() in ARRAY_READERS:
            return self._of_features(place.local)
        if place.local is not None and place.local.is_file() and place.local.suffix.lower() == ".parquet":
            with open_columns(place.local, []) as columns:
                if columns.batches is not None:
                    return self._of_features(place.local)
        return self._of_images(text)

    def _of_features(self, path: Path) -> list[Query]:
        """Of a file of this program or of another; it needs no labels."""
        known, features = open_gallery(path), read_vectors(path)
        self._warn(check_made(self._gallery, known.metadata, f"the queries {path}"))
        return [
            Query(
                str(known.value("image_id", row) or f"row {row}"),
                feature,
                person_id=plain_value(known.value("person_id", row)),
            )
            for row, feature in enumerate(features)
        ]

    def _of_images(self, text: str) -> list[Query]:
        images = list_inputs([text], role="query")
        encoder = self._open_encoder()
        pixels, rows = [], images.rows.to_pylist()
        for row, (item, data) in zip(rows, images.items(self._parameters.parse.max_pixels), strict=True):
            source = decode_source(open_item(images.folder, item, data, self._parameters.parse.max_pixels))
            if source.bad is not None or source.image is None:
                bad = source.bad or BadImageError("unsupported", "no pixels")
                raise InputError(f"query {row['image_id']} cannot be used as an image: {bad.detail}")
            pixels.append(resize_image(source.image, encoder.size))
        cameras = [NO_ID if row["camera_id"] is None else row["camera_id"] for row in rows]
        features = encoder.embed(pixels, cameras)
        return [
            Query(row["image_id"], feature, -1, None if row["person_id"] == NO_ID else row["person_id"], image)
            for row, feature, image in zip(rows, features, pixels, strict=True)
        ]

    def _open_encoder(self) -> Encoder:
        if self._encoder is None:
            self._encoder = gallery_encoder(
                self._parameters, self._console, self._gallery, self._how.checkpoint, self._how.chosen
            )
        return self._encoder

    def _warn(self, warning: str | None) -> None:
        if warning is not None:
            self._console.say(f"warning: {warning}")


def gallery_encoder(
    parameters: Parameters, console: Console, gallery: Gallery, checkpoint: Path | None, named: bool
) -> Encoder:
    """The encoder whose features of photos can be compared with a gallery.

    Args:
        parameters: All of them.
        console: For remarks.
        gallery: The gallery.
        checkpoint: Its folder; None: the CLIP of the parameters, before any training.
        named: Whether the user named it.

    Raises:
        InputError: It is missing or damaged, or did not make the gallery; or no encoder did.
    """
    settings = settings_of(gallery, feature_settings(parameters), named)
    encoder = open_encoder(parameters, console, checkpoint, settings)
    made = made_by(encoder.chosen, encoder.settings, encoder.device)
    name = "the CLIP of the parameters" if checkpoint is None else f"the checkpoint {checkpoint}"
    warning = check_made(gallery, made, f"the features of {name}")
    if warning is not None:
        console.say(f"warning: {warning}")
    return encoder


def _write_page(
    path: Path,
    pictures: GalleryImages,
    where: str,
    queries: Sequence[Query],
    found: Findings,
) -> None:
    shown = []
    for query, result in zip(queries, found.results, strict=True):
        name = "" if query.person_id is None else f"person {query.person_id}"
        picture = small_picture(query.image, f"query {query.name}")
        head = Found(query.name, (name,) if name else (), picture)
        shown.append(SearchResult(head, tuple(_hit(pictures, query, hit) for hit in result["hits"])))
    without = sum(hit.picture is None for result in shown for hit in result.hits)
    gallery = pictures.gallery
    page = SearchPage(str(gallery.path), len(gallery), found.searched, where, tuple(shown), without)
    write_search_page(page, path)


def _hit(pictures: GalleryImages, query: Query, hit: Mapping[str, Any]) -> Found:
    name = str(hit["image_id"] or f"row {hit['row']}")
    ids = [("person", hit["person_id"]), ("camera", hit["camera_id"]), ("clothes", hit["clothes_id"])]
    lines = (f"similarity {hit['similarity']:.3f}", *(f"{word} {value}" for word, value in ids if value is not None))
    known = query.person_id is not None and hit["person_id"] is not None
    right = hit["person_id"] == query.person_id if known else None
    return Found(name, lines, small_picture(pictures.image(hit["row"]), name), right)
