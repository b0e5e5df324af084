"""Settings of features: a part of the section ``evaluate``."""

from typing import Literal

from pydantic import Field

from pipeline.settings import SettingsGroup


class FeatureSettings(SettingsGroup):
    """How the feature that is compared at test time is made."""

    feature: Literal["concat", "projected"] = Field(
        "concat",
        description="Feature that is compared: hidden and projected side by side (768 + 512 numbers for "
        "ViT-B/16), or the projected one.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Numbers that the encoder computes features with. auto: bf16 on a GPU that has it, else fp32; the "
        "feature file says what it became. fp16 needs CUDA.",
    )
    flip: bool = Field(False, description="Average the feature with that of the mirrored image.")
    batch_size: int = Field(128, ge=1, description="Images per forward pass.")
