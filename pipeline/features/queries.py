"""Queries, what is found for them in a gallery, and whether the two can be compared: of the command and of the page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.features.feature_set import CHECKPOINT_KEY, Floats
from pipeline.features.gallery import Gallery, plain_value, search
from pipeline.features.settings import FeatureSettings
from pipeline.images import RgbImage
from pipeline.models.image_encoder import FeatureKind

MADE: Final = (CHECKPOINT_KEY, "feature", "flip", "model_sha256", "camera_embedding")
"""What must be the same of the gallery's features and of the queries'."""

SHOWN: Final = ("image_id", "role", "person_id", "camera_id", "clothes_id")


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        name: For people.
        feature: L2-normalised, (D,).
        row: Its row in the gallery; -1: it is not of the gallery.
        person_id: Whom it shows, as the gallery would say; None: not known.
        image: It, at the most as large as the encoder's input; None if it cannot be shown.
    """

    name: str
    feature: Floats
    row: int = -1
    person_id: Any = None
    image: RgbImage | None = None


@dataclass(frozen=True)
class Findings:
    """What was found for some queries.

    Attributes:
        searched: Images of the gallery that were compared.
        results: By query: ``query`` (name, person_id) and ``hits``, the nearest first, each with rank, similarity, row
            and :data:`SHOWN`; plain values, as JSON has them.
    """

    searched: int
    results: tuple[dict[str, Any], ...]


def find(
    gallery: Gallery, queries: Sequence[Query], top: int, chosen: NDArray[np.bool_] | None = None, quiet: bool = True
) -> Findings:
    """Compare queries with the gallery; a query of the gallery is not found by itself.

    Args:
        gallery: The gallery.
        queries: At least one.
        top: Images for each query.
        chosen: Rows that are compared, (G,); None: all.
        quiet: No progress line.

    Raises:
        InputError: The features have another dimension, or are damaged.
    """
    features = np.stack([query.feature for query in queries])
    found = search(gallery, features, top, chosen=chosen, leave_out=[query.row for query in queries], quiet=quiet)
    results = tuple(
        {
            "query": {"name": query.name, "person_id": query.person_id},
            "hits": [
                {"rank": rank, "similarity": round(float(value), 6), "row": int(row), **known_of(gallery, int(row))}
                for rank, (row, value) in enumerate(zip(places, values, strict=True), 1)
                if row >= 0
            ],
        }
        for query, places, values in zip(queries, found.rows, found.similarity, strict=True)
    )
    return Findings(found.searched, results)


def known_of(gallery: Gallery, row: int) -> dict[str, Any]:
    """What the gallery says of a row: :data:`SHOWN`, None where it says nothing."""
    known = {name: plain_value(gallery.value(name, row)) for name in SHOWN}
    known["role"] = known["role"] or plain_value(gallery.value("split", row))
    return known


def settings_of(gallery: Gallery, own: FeatureSettings, named: bool) -> FeatureSettings:
    """How features of photos must be made for a gallery.

    Args:
        gallery: The gallery.
        own: Settings that decide nothing that the gallery's file says, such as the batch size.
        named: Whether the user named the encoder.

    Raises:
        InputError: No encoder made the gallery; or it does not say which one, and none was named.
    """
    known = gallery.metadata
    kind, flip = known.get("feature", "concat"), known.get("flip", "false")
    if kind not in get_args(FeatureKind) or flip not in ("true", "false"):
        raise InputError(
            f"the gallery {gallery.path} has features of kind {kind!r}, made by no encoder: give features as --query"
        )
    if CHECKPOINT_KEY not in known and not named:
        raise InputError(
            f"the gallery {gallery.path} does not say which encoder made it: name it by --checkpoint, or "
            "give features as --query"
        )
    return FeatureSettings.model_validate({**own.model_dump(), "feature": kind, "flip": json.loads(flip)})


def check_made(gallery: Gallery, made: Mapping[str, str], what: str) -> str | None:
    """Refuse queries of another encoder than the gallery's; where that is not known, a sentence that says so.

    Args:
        gallery: The gallery.
        made: What made the queries, as in a feature file's metadata.
        what: The queries, in words.

    Raises:
        InputError: They are of another encoder, or of another kind of feature.
    """
    known, path = gallery.metadata, gallery.path
    if CHECKPOINT_KEY not in known or CHECKPOINT_KEY not in made:
        return f"whether {what} and the gallery {path} are of one encoder is not known"
    different = [key for key in MADE if known.get(key) != made.get(key)]
    if different:
        shown = ", ".join(f"{key} {str(made.get(key))[:12]}, not {str(known.get(key))[:12]}" for key in different)
        raise InputError(
            f"{what} cannot be compared with the gallery {path} ({shown}): name the encoder that made the gallery "
            "by --checkpoint (or --frozen with its parameters), or embed it again"
        )
    return None
