"""Settings that several losses share; what belongs to one loss stands in its own file."""

from typing import Literal

from pydantic import Field

from pipeline.settings import SettingsGroup


class SimilaritySettings(SettingsGroup):
    """How images and texts are compared."""

    similarity: Literal["dot", "cosine"] = Field(
        "dot", description="How images and texts are compared: dot (CLIP-ReID's), or cosine with CLIP's logit scale."
    )


class SmoothingSettings(SettingsGroup):
    """Targets of cross-entropies."""

    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="Label smoothing of the identity and image-text cross-entropies."
    )
