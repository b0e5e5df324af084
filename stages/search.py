"""The search stage: the images of a gallery that are nearest to some queries."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from pipeline.columns import as_columns
from pipeline.config import Parameters
from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import BadImageError, InputError, one_line
from pipeline.features.builder import made_by
from pipeline.features.embedding import Encoder
from pipeline.features.extraction import FeatureKind
from pipeline.features.feature_set import CHECKPOINT_KEY, IMAGES_KEY, NO_ID, Floats, read_features
from pipeline.features.formats import open_columns
from pipeline.features.gallery import Gallery, choose_rows, open_gallery, read_row, search
from pipeline.features.image_list import list_inputs, open_item
from pipeline.features.settings import FeatureSettings
from pipeline.images import DEFAULT_MAX_PIXELS, RgbImage, resize_image
from pipeline.location import Location, locate
from pipeline.outputs import check_output
from pipeline.reporting.page import GENERATOR
from pipeline.reporting.search_page import Found, SearchPage, SearchResult, small_picture, write_search_page
from pipeline.shards.making.sources import decode_source
from pipeline.shards.reader import ShardReader
from pipeline.storage import StorageError, is_file, is_folder
from stages.console import Console
from stages.embed import open_encoder

MADE = (CHECKPOINT_KEY, "feature", "flip", "model_sha256", "camera_embedding")
"""What must be the same of the gallery's features and of the queries'."""

SHOWN = ("image_id", "role", "person_id", "camera_id", "clothes_id")


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        name: For people.
        feature: L2-normalised, (D,).
        row: Its row in the gallery; -1: it is not of the gallery.
        person_id: Whom it shows; None: not known.
        image: It, at the most as large as the encoder's input; None if it cannot be shown.
    """

    name: str
    feature: Floats
    row: int = -1
    person_id: int | None = None
    image: RgbImage | None = None


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
    pictures = None if how.html is None else _Pictures(opened, how)
    asked = _Asked(parameters, console, opened, how, pictures)
    queries = [query for text in how.queries for query in asked.queries(text)]
    features = np.stack([query.feature for query in queries])
    rows = [query.row for query in queries]
    found = search(opened, features, how.top, chosen=chosen, leave_out=rows, quiet=console.quiet)
    results = [
        {
            "query": {"name": query.name, "person_id": query.person_id},
            "hits": [
                {"rank": rank, "similarity": round(float(value), 6), "row": int(row), **_known(opened, int(row))}
                for rank, (row, value) in enumerate(zip(places, values, strict=True), 1)
                if row >= 0
            ],
        }
        for query, places, values in zip(queries, found.rows, found.similarity, strict=True)
    ]
    if how.html is not None and pictures is not None:
        _write_page(how.html, pictures, how.where or "", queries, results, found.searched)
        console.say(f"page -> {how.html}")
    return {"gallery": str(gallery), "images": len(opened), "searched": found.searched, "results": results}


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


def _known(gallery: Gallery, row: int) -> dict[str, Any]:
    known = {name: _plain(gallery.value(name, row)) for name in SHOWN}
    known["role"] = known["role"] or gallery.value("split", row)
    return known


def _plain(value: Any) -> Any:
    """A value of a gallery as JSON has it: numbers that are none, dates and bytes do not fit in."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | str | bool | None) else str(value)


class _Asked:
    """Makes queries of what the user named; the encoder is opened for the first one that needs it."""

    def __init__(
        self, parameters: Parameters, console: Console, gallery: Gallery, how: How, pictures: "_Pictures | None"
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
            person = self._gallery.value("person_id", row)
            image = None if self._pictures is None else self._pictures.image(row)
            return [Query(text, read_row(self._gallery, row), row, person, image)]
        if place.local is not None and place.local.is_file() and place.local.suffix.lower() == ".parquet":
            with open_columns(place.local, []) as columns:
                if columns.batches is not None:
                    return self._of_features(place.local)
        return self._of_images(text)

    def _of_features(self, path: Path) -> list[Query]:
        features, metadata = read_features(path)
        self._check_made(metadata, f"the queries {path}")
        people = [None if person == NO_ID else int(person) for person in features.person_id]
        names = [name or f"row {row}" for row, name in enumerate(features.image_id.tolist())]
        return [Query(*each) for each in zip(names, features.features, [-1] * len(names), people, strict=True)]

    def _of_images(self, text: str) -> list[Query]:
        images = list_inputs([text], role="query")
        encoder = self._open_encoder()
        pixels, rows = [], images.rows.to_pylist()
        for row, (item, data) in zip(rows, images.items(0, len(images)), strict=True):
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
            known, how = self._gallery.metadata, self._how
            kind, flip = known.get("feature", "concat"), known.get("flip", "false")
            if kind not in get_args(FeatureKind) or flip not in ("true", "false"):
                raise InputError(
                    f"the gallery {self._gallery.path} has features of kind {kind!r}, made by no encoder: "
                    "give features as --query"
                )
            if CHECKPOINT_KEY not in known and not how.chosen:
                raise InputError(
                    f"the gallery {self._gallery.path} does not say which encoder made it: name it by --checkpoint, or "
                    "give features as --query"
                )
            own = self._parameters.evaluate.model_dump(include=set(FeatureSettings.model_fields))
            settings = FeatureSettings.model_validate({**own, "feature": kind, "flip": json.loads(flip)})
            encoder = open_encoder(self._parameters, self._console, how.checkpoint, settings)
            made = made_by(encoder.chosen, encoder.settings, encoder.device)
            name = "the CLIP of the parameters" if how.checkpoint is None else f"the checkpoint {how.checkpoint}"
            self._check_made(made, f"the features of {name}")
            self._encoder = encoder
        return self._encoder

    def _check_made(self, made: Mapping[str, str], what: str) -> None:
        """Refuse queries of another encoder than the gallery's, and warn where that is not known."""
        known, path = self._gallery.metadata, self._gallery.path
        if CHECKPOINT_KEY not in known or CHECKPOINT_KEY not in made:
            self._console.say(f"warning: whether {what} and the gallery {path} are of one encoder is not known")
            return
        different = [key for key in MADE if known.get(key) != made.get(key)]
        if different:
            shown = ", ".join(f"{key} {str(made.get(key))[:12]}, not {str(known.get(key))[:12]}" for key in different)
            raise InputError(
                f"{what} cannot be compared with the gallery {path} ({shown}): name the encoder that made the gallery "
                "by --checkpoint (or --frozen with its parameters), or embed it again"
            )


class _Pictures:
    """Images of the gallery, where they can be reached: by their path, or in shards."""

    def __init__(self, gallery: Gallery, how: How) -> None:
        self.gallery = gallery
        named = how.images or gallery.metadata.get(IMAGES_KEY)
        self._folder: Location | None = None if named is None else locate(named)
        self._reader = None if how.shards is None else ShardReader(how.shards, copy=False)
        self._rows = {} if self._reader is None else {name: row for row, name in enumerate(self._reader.ids.image_id)}

    def image(self, row: int) -> RgbImage | None:
        """The image of a row; None if it cannot be reached."""
        place = self._rows.get(self.gallery.value("image_id", row))
        if place is not None and self._reader is not None:
            return self._reader.image(place)
        path = _plain(self.gallery.value("path", row))
        if path is None or self._folder is None:
            return None
        try:
            source = decode_source(open_item(self._folder, ManifestRow(path, "", NO_ID), None, DEFAULT_MAX_PIXELS))
        except (OSError, StorageError):
            return None
        return source.image


def _write_page(
    path: Path,
    pictures: "_Pictures",
    where: str,
    queries: Sequence[Query],
    results: Sequence[Mapping[str, Any]],
    searched: int,
) -> None:
    shown = []
    for query, result in zip(queries, results, strict=True):
        name = "" if query.person_id is None else f"person {query.person_id}"
        picture = small_picture(query.image, f"query {query.name}")
        head = Found(query.name, (name,) if name else (), picture)
        shown.append(SearchResult(head, tuple(_hit(pictures, query, hit) for hit in result["hits"])))
    without = sum(hit.picture is None for result in shown for hit in result.hits)
    gallery = pictures.gallery
    page = SearchPage(str(gallery.path), len(gallery), searched, where, tuple(shown), without)
    write_search_page(page, path)


def _hit(pictures: "_Pictures", query: Query, hit: Mapping[str, Any]) -> Found:
    name = str(hit["image_id"] or f"row {hit['row']}")
    ids = [("person", hit["person_id"]), ("camera", hit["camera_id"]), ("clothes", hit["clothes_id"])]
    lines = (f"similarity {hit['similarity']:.3f}", *(f"{word} {value}" for word, value in ids if value is not None))
    known = query.person_id is not None and hit["person_id"] is not None
    right = hit["person_id"] == query.person_id if known else None
    return Found(name, lines, small_picture(pictures.image(hit["row"]), name), right)
