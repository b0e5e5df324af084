"""Settings of features: a part of the section ``evaluate``."""

from typing import Literal

from pydantic import Field

from pipeline.settings import SettingsGroup


class FeatureSettings(SettingsGroup):
    """How the feature that is compared at test time is made."""

    feature: Literal["concat", "projected"] = Field(
        "concat", description="test feature: 768-d and 512-d, or 512-d only"
    )
    flip: bool = Field(False, description="average the feature with that of the mirrored image")
    batch_size: int = Field(128, ge=1, description="images a forward pass")
