"""Settings of the section ``model``: the CLIP that everything starts from."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import SettingsGroup

LARGEST_SIDE = 4096
"""Pixels of an image's side in the network; its positions alone would fill a GPU beyond it."""

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Divisor = Annotated[float, Field(gt=0)]


class ModelSettings(SettingsGroup):
    """The CLIP that everything starts from."""

    name: str = Field("ViT-B-16-quickgelu", description="open_clip model name, or path of an open_clip JSON config")
    pretrained: str | None = Field(
        "openai", description="open_clip tag, a weights file, or builtin:walker-clip; null: random weights"
    )
    stem: Literal["patch", "conv"] = Field("patch", description="patch embedding: one convolution, or a stack of 3x3")
    image_size: tuple[Side, Side] = Field((256, 128), description="height and width in pixels, at most 4096 each")
    stride: int | None = Field(
        None,
        ge=1,
        description="pixels between two patches; less than the patch lets them overlap (12); null: the patch",
    )
    camera_embedding: float = Field(
        0.0, ge=0, description="scale of an embedding a camera, added to the class token in stage 2; 0: none"
    )
    pixel_mean: tuple[float, float, float] = Field(
        (0.5, 0.5, 0.5), description="taken off each channel in [0, 1]; CLIP-ReID's"
    )
    pixel_std: tuple[Divisor, Divisor, Divisor] = Field((0.5, 0.5, 0.5), description="divisor of each channel")
