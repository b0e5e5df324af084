"""Settings of the section ``synth``: the rendered data set."""

from typing import Literal

from pydantic import Field

from pipeline.settings import SettingsGroup

Variant = Literal["standard", "hard"]
"""Of garments and cameras in training and test. The population for pre-training is the same in both, so that one CLIP
serves both; the people of a seed are the same too."""


class SynthSettings(SettingsGroup):
    """The rendered data set (walkers)."""

    height: int = Field(128, ge=64, le=512, description="Image height in pixels; the width is half of it.")
    train_identities: int = Field(96, ge=2, description="People in the training split.")
    test_identities: int = Field(60, ge=2, description="Other people, in the query and gallery splits.")
    outfits: int = Field(3, ge=2, description="Most outfits per person; everybody has at least two.")
    images_per_outfit: int = Field(4, ge=1, description="Images of each person in each outfit.")
    cameras: int = Field(
        4, ge=2, le=12, description="Cameras, each with its own light, colour, blur, noise and background."
    )
    pretrain_images: int = Field(
        7000, ge=16, description="Captioned images of the separate population for pre-training."
    )
    variant: Variant = Field(
        "standard", description="hard: few garments that many people share, stronger cameras, more occlusion."
    )

    @property
    def width(self) -> int:
        """Of an image in pixels."""
        return self.height // 2
