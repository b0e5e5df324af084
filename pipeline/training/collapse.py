"""Whether a training has collapsed: all images have nearly the same feature, and nobody can be told from anybody."""

from typing import Final

import numpy as np

from pipeline.features.builder import build_features, images_of_shards
from pipeline.features.feature_set import Floats
from pipeline.features.rows import FeatureRows
from pipeline.features.settings import FeatureSettings
from pipeline.models.clip import ClipSpec
from pipeline.models.image_encoder import ImageEncoder
from pipeline.training.training_data import TrainingData

COLLAPSED: Final = 0.99
"""Mean cosine from which features have collapsed: walkers had 0.40 to 0.46, and 0.998 or more where Rank-1 was lost."""

PEOPLE: Final = 64


def mean_cosine(features: Floats) -> float:
    """Mean cosine of two different rows, of all pairs.

    Args:
        features: L2-normalised, (N, D); N >= 2.
    """
    count = len(features)
    exact = features.astype(np.float64)
    return float((np.square(exact.sum(axis=0)).sum() - np.square(exact).sum()) / (count * (count - 1)))


def likeness_of_people(
    encoder: ImageEncoder, spec: ClipSpec, data: TrainingData, settings: FeatureSettings, *, device: str
) -> float | None:
    """Mean cosine of the first images of up to 64 training identities, by the feature that is compared at test time.

    Args:
        encoder: E_v, trained.
        spec: Its architecture.
        data: The training images.
        settings: Which feature is compared; it is computed in float32, which every device can do.
        device: Where the encoder is.

    Returns:
        None if there is one identity only.

    Raises:
        WorkError: Memory does not suffice.
    """
    firsts = np.unique(data.identities.labels, return_index=True)[1][:PEOPLE]
    if len(firsts) < 2:
        return None
    rows = FeatureRows(data.rows[firsts], np.full(len(firsts), "train", dtype=object))
    images = images_of_shards(data.reader, rows, data.store)
    settings = settings.model_copy(update={"precision": "fp32"})
    return mean_cosine(build_features(encoder, spec, images, settings, device=device).normalised().features)
