"""Settings of the sections ``pretrain``, ``prompts``, ``encoder`` and ``training``."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, create_model, field_validator

from pipeline.losses.registry import LOSS_SETTINGS
from pipeline.settings import SettingsGroup
from pipeline.trainer.settings import TrainerSettings
from pipeline.training.methods import find_method


class PretrainSettings(SettingsGroup):
    """Contrastive pre-training of a small CLIP on captioned walkers."""

    epochs: int = Field(6, ge=1, description="passes over the captioned images")
    batch_size: int = Field(48, ge=2, description="images a step")
    learning_rate: float = Field(2e-3, gt=0, description="peak of the one-cycle schedule")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")
    caption_every: int = Field(4, ge=1, description="steps between two caption InfoNCE terms")
    grey_box_probability: float = Field(
        0.3, ge=0, le=1, description="chance of grey boxes on an image, so that shielding is nothing new"
    )


class PromptSettings(SettingsGroup):
    """Stage 1: learning identity and clothes prompts (equations 5, 6, 12, 13, 16)."""

    tokens: int = Field(4, ge=1, description="M, learnable tokens a prompt")
    identity_images: Literal["auto", "shielding", "raw"] = Field(
        "auto", description="images that identity prompts are learned from; auto: as encoder.method needs"
    )
    similarity: Literal["dot", "cosine"] = Field("dot", description="dot: CLIP-ReID's; cosine: with CLIP's logit scale")
    epochs: int = Field(120, ge=1, description="passes over the cached features")
    batch_size: int = Field(64, ge=2, description="images a step")
    learning_rate: float = Field(3.5e-4, gt=0, description="of Adam, after the warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="of Adam")
    schedule_every: Literal["step", "epoch"] = Field("step", description="as in encoder.schedule_every")
    warmup_epochs: int = Field(5, ge=0, description="length of the linear warm-up")
    warmup_learning_rate: float = Field(1e-5, gt=0, description="where the warm-up starts")
    final_learning_rate: float = Field(1e-6, ge=0, description="where the cosine decay ends")
    clothes_classes: Literal["auto", "labels", "cluster", "image", "none"] = Field(
        "auto",
        description="auto: the data set's labels, else cluster: clusters of clothes features within an identity; "
        "image: one class an image; none: no clothes prompts",
    )
    cluster_distance: float = Field(0.2, ge=0, le=2, description="cosine distance up to which clusters are merged")
    without_clothes: Literal["keep", "drop"] = Field(
        "keep", description="training images whose parse has no clothes: keep for the identity losses, or drop"
    )
    text_chunk: int = Field(256, ge=1, description="classes whose text features are computed at once; bounds memory")


class MethodSettings(SettingsGroup):
    """Which terms are in the sum of stage 2, with which weights, and when."""

    method: str = Field("ccaf", description="name of a method, see the table of methods")
    weights: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="weights of terms by name, over the method's; 0 leaves a term out"
    )
    alternate: tuple[int, int] | None = Field(
        None, description="examine steps and other steps in turn, [n, m]; null: one backward pass of the sum"
    )
    start_epochs: dict[str, NonNegativeInt] = Field(
        default_factory=dict, description="epochs that pass before a term enters the sum, by name; 0 where not named"
    )

    @field_validator("method")
    @classmethod
    def _known_method(cls, name: str) -> str:
        find_method(name)
        return name

    @field_validator("alternate")
    @classmethod
    def _steps_of_both_kinds(cls, steps: tuple[int, int] | None) -> tuple[int, int] | None:
        if steps is not None and min(steps) < 1:
            raise ValueError("both numbers must be at least 1")
        return steps


class ScheduleSettings(SettingsGroup):
    """Learning rates of stage 2."""

    epochs: int = Field(40, ge=1, description="passes of the identity sampler")
    learning_rate: float = Field(5e-6, gt=0, description="of Adam, after the warm-up; biases have twice as much")
    head_factor: float = Field(1.0, gt=0, description="learning rate of heads and Proj_c, as a multiple")
    weight_decay: float = Field(1e-4, ge=0, description="of Adam")
    schedule: Literal["cosine", "step"] = Field(
        "cosine", description="after the warm-up: cosine decay to zero, or a tenth at each milestone (CLIP-ReID's)"
    )
    schedule_every: Literal["step", "epoch"] = Field(
        "step", description="when the rate changes; epoch: the n-th epoch has the rate at n, as in CLIP-ReID"
    )
    milestones: tuple[int, ...] = Field((30, 50), description="epochs at which the step schedule lowers the rate")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="share of the steps that warm up from 0.1 x the rate")


class SamplerSettings(SettingsGroup):
    """Which images come together in a batch of stage 2."""

    identities_per_batch: int = Field(16, ge=2, description="P")
    images_per_identity: int = Field(4, ge=2, description="K_p")
    spread: Literal["none", "outfits", "cameras", "both"] = Field(
        "none", description="spread an identity's K_p images over its outfits, cameras, or both"
    )


class ViewSettings(SettingsGroup):
    """How the views of an image are augmented."""

    view_geometry: Literal["shared", "independent"] = Field(
        "shared", description="whether raw and shielding view of an image share flip, crop and erased box"
    )
    flip_probability: float = Field(0.5, ge=0, le=1, description="chance of mirroring an image")
    pad: int = Field(10, ge=0, description="pixels of padding before the random crop")
    erase_probability: float = Field(0.5, ge=0, le=1, description="chance of an erased box")


class EncoderSettings(ViewSettings, SamplerSettings, ScheduleSettings, MethodSettings):
    """Stage 2: training the encoders (equations 7, 9, 10, 14, 15, 17)."""


if TYPE_CHECKING:
    AllEncoderSettings = EncoderSettings
else:
    AllEncoderSettings = create_model(
        "AllEncoderSettings", __base__=(EncoderSettings, *LOSS_SETTINGS), __doc__=EncoderSettings.__doc__
    )
"""The section ``encoder``: the settings above, and those of every loss, which stand in the losses' own files."""


class ValidationSettings(SettingsGroup):
    """Checks between epochs of stage 2, which choose the best weights."""

    evaluate_every: int = Field(
        0, ge=0, description="epochs of stage 2 between two checks, which choose the best weights; 0: none"
    )
    evaluate_split: Literal["val", "test"] = Field(
        "test", description="images of the checks: the validation split, or query and gallery of the test"
    )
    evaluate_protocol: str | None = Field(
        None, description="protocol of the checks; null: the data set's cloth-changing one, else its first"
    )
    evaluate_metric: Literal["mAP", "rank1", "mINP"] = Field("mAP", description="figure that chooses the best weights")


class TrainingSettings(ValidationSettings, TrainerSettings):
    """How both stages run: numbers, memory, states to go on from, checks between epochs."""
