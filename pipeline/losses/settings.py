"""Settings that several losses share; what belongs to one loss stands in its own file."""

from typing import Literal

from pydantic import Field

from pipeline.settings import SettingsGroup


class SimilaritySettings(SettingsGroup):
    """How images and texts are compared."""

    similarity: Literal["dot", "cosine"] = Field("dot", description="as in prompts.similarity")


class SmoothingSettings(SettingsGroup):
    """Targets of cross-entropies."""

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="in the identity and image-text cross-entropies")
