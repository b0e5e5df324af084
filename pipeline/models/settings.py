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

    name: str = Field(
        "ViT-B-16-quickgelu", description="Name of an open_clip model, or path of an open_clip JSON configuration."
    )
    pretrained: str | None = Field(
        "openai",
        description="Weights: an open_clip tag, a file, an encoder checkpoint, or builtin:walker-clip; null: random.",
    )
    tokenizer: str | None = Field(
        None,
        description="Folder with the files of the model's Hugging Face tokenizer (SigLIP's); null: the hub, or its "
        "cache. CLIP's own tokenizer needs none.",
    )
    stem: Literal["patch", "conv"] = Field(
        "patch", description="Patch embedding: one convolution (patch), or a stack of 3x3 convolutions (conv)."
    )
    image_size: tuple[Side, Side] = Field(
        (256, 128), description="Height and width of the input in pixels, at most 4096 each."
    )
    stride: int | None = Field(
        None,
        ge=1,
        description="Pixels between the starts of two patches; fewer than the patch size (such as 12) lets "
        "them overlap; null: the patch size.",
    )
    camera_embedding: float = Field(
        0.0, ge=0, description="Scale of a learned embedding per camera, added to the class token in stage 2; 0: none."
    )
    pixel_mean: tuple[float, float, float] = Field(
        (0.5, 0.5, 0.5), description="Subtracted from each channel in [0, 1]; the default is CLIP-ReID's."
    )
    pixel_std: tuple[Divisor, Divisor, Divisor] = Field((0.5, 0.5, 0.5), description="Each channel is divided by it.")


class BlendSettings(SettingsGroup):
    """How much of the CLIP before training a blended encoder has; see ``ccaf-pipeline blend``."""

    trained_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the trained weights where they are averaged with those of the CLIP before training "
        "(WiSE-FT, arXiv 2109.01903); 1: the trained weights alone. Costs no time later.",
    )
    clip_weight: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Weight of the cosine similarity of the CLIP's own features, before training, beside 1 for that of "
        "the trained ones; 0: they are not compared. Features then take two networks.",
    )

    @property
    def changes_nothing(self) -> bool:
        """Whether the blended encoder would be the trained one."""
        return self.trained_share == 1 and self.clip_weight == 0
