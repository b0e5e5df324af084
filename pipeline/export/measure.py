"""What an exported file loses: its features beside those of extract, and what they score."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import WorkError
from pipeline.evaluation.scoring import named_protocols, possible_protocols, score_protocol
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.export.graph import ExportForm
from pipeline.export.runtime import OnnxEncoder
from pipeline.features.builder import FeatureImages
from pipeline.features.feature_set import NO_ID, Floats, normalise_rows
from pipeline.features.rows import FeatureRows
from pipeline.models.clip import ClipSpec
from pipeline.progress import Progress
from pipeline.shards.reader import ShardReader

TOLERANCE: Final = 1e-4
"""Largest difference of a number of a float32 file's features from extract's; they have length 1."""
RANDOM_IMAGES: Final = 5
SHARD_IMAGES: Final = 64
_BATCHES: Final = (1, 3)
"""Sizes of the first batches; the rest is one more, so that the batch is seen to be dynamic."""
_SHOWN: Final = ("rank1", "mAP")


@dataclass(frozen=True)
class Difference:
    """How far a file's features are from those of extract.

    Attributes:
        images: Their number.
        largest: Largest difference of two numbers.
        least_cosine: Of an image's two features.
        mean_cosine: Of an image's two features.
    """

    images: int
    largest: float
    least_cosine: float
    mean_cosine: float

    @classmethod
    def between(cls, expected: Floats, found: Floats) -> "Difference":
        """Of features (N, D) of the same images, normalised or not."""
        one, other = (normalise_rows(rows).astype(np.float64) for rows in (expected, found))
        cosines = np.einsum("nd,nd->n", one, other)
        return cls(len(one), float(np.abs(one - other).max()), float(cosines.min()), float(cosines.mean()))

    def to_dict(self) -> dict[str, float]:
        """JSON form."""
        return asdict(self)


def random_images(spec: ClipSpec, seed: int) -> FeatureImages:
    """Some images of noise at the encoder's size."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (RANDOM_IMAGES, *spec.image_size, 3), dtype=torch.uint8, generator=generator)
    nobody = np.full(RANDOM_IMAGES, NO_ID, dtype=np.int64)

    def load(rows: Sequence[int]) -> Tensor:
        return pixels[list(rows)]

    names = np.array([f"noise {row}" for row in range(RANDOM_IMAGES)], dtype=np.str_)
    return FeatureImages(load, names, np.full(RANDOM_IMAGES, "gallery"), nobody, nobody, nobody, nobody)


def spread_rows(reader: ShardReader, most: int = SHARD_IMAGES) -> FeatureRows:
    """Up to ``most`` images, spread evenly over the shards."""
    index = np.unique(np.linspace(0, len(reader) - 1, min(most, len(reader))).astype(np.int64))
    return FeatureRows(index, np.full(len(index), "gallery", dtype=np.object_))


def features_of_file(
    file: OnnxEncoder, form: ExportForm, images: FeatureImages, batch_size: int, what: str, quiet: bool
) -> Floats:
    """Features of images by an exported file, (N, D), float32, in batches of several sizes.

    Raises:
        WorkError: They are not finite.
    """
    count = len(images)
    starts = [0, *(size for size in np.cumsum(_BATCHES).tolist() if size < count)]
    starts += range(starts[-1] + batch_size, count, batch_size)
    parts = []
    with Progress(count, what, "image", quiet) as progress:
        for start, end in zip(starts, [*starts[1:], count], strict=True):
            parts.append(file(form.given(images.load(range(start, end))).numpy()))
            progress.advance(end - start)
    features: Floats = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise WorkError(f"the features of {what} are not finite: its numbers overflow; export without this form")
    return features


def scores_of(
    images: FeatureImages, features: Floats, facts: DatasetFacts, settings: EvaluateSettings, seed: int
) -> dict[str, dict[str, float]]:
    """Rank-1 and mAP in percent of features of query and gallery, by protocol.

    Raises:
        InputError: No protocol can be scored.
    """
    items = images.with_features(features).normalised()
    plain = settings.model_copy(update={"bootstrap": 0})
    chosen = named_protocols(settings.protocols, facts) if settings.protocols else possible_protocols(items, facts)[0]
    nobody = items.with_role()
    found: dict[str, dict[str, float]] = {}
    for protocol in chosen:
        entries, _, _ = score_protocol(
            items, nobody, protocol, plain, seed, rerank=False, depth=0, quiet=True, facts=facts
        )
        found |= {entry["name"]: {name: entry[name] for name in _SHOWN} for entry in entries}
    return found


def losses(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What each score lost, in points of percent; negative: it gained."""
    return {name: {key: value - after[name][key] for key, value in scores.items()} for name, scores in before.items()}
