"""Settings of the sections ``pretrain``, ``prompts``, ``encoder`` and ``training``."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, FiniteFloat, NonNegativeInt, create_model, field_validator

from pipeline.losses.registry import LOSS_SETTINGS
from pipeline.redress.settings import RedressSettings
from pipeline.settings import SettingsGroup
from pipeline.trainer.settings import TrainerSettings
from pipeline.training.methods import find_method


class PretrainStartSettings(SettingsGroup):
    """Where the image tower of the pre-training starts."""

    image_start: Literal["random", "imagenet"] = Field(
        "random",
        description="Weights that the image tower starts from: random ones, or EfficientNet-Lite0's from ImageNet "
        "(model.name: walker-lite0, extra train-parser).",
    )
    image_factor: float = Field(
        1.0,
        gt=0,
        description="Learning rate of a timm image tower, but for its projection, as a multiple of the others'; "
        "towers that are not timm's take 1 only.",
    )


class PretrainSettings(PretrainStartSettings):
    """Contrastive pre-training of a small CLIP on captioned walkers."""

    epochs: int = Field(6, ge=1, description="Passes over the captioned images.")
    batch_size: int = Field(48, ge=2, description="Images per step.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate of the schedule.")
    weight_decay: float = Field(0.05, ge=0, description="Weight decay of AdamW.")
    caption_every: int = Field(4, ge=1, description="Steps from one caption InfoNCE term to the next.")
    grey_box_probability: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Chance of grey boxes on an image, so that shielding images are nothing new to the network.",
    )


class PromptSettings(SettingsGroup):
    """Stage 1: learning identity and clothes prompts (equations 5, 6, 12, 13, 16)."""

    tokens: int = Field(4, ge=1, description="Learnable tokens per prompt, M in the paper.")
    identity_images: Literal["auto", "shielding", "raw"] = Field(
        "auto", description="Images that identity prompts are learned from; auto: what encoder.method needs."
    )
    similarity: Literal["dot", "cosine"] = Field(
        "dot", description="How images and texts are compared: dot (CLIP-ReID's), or cosine with CLIP's logit scale."
    )
    epochs: int = Field(120, ge=1, description="Passes over the cached features.")
    batch_size: int = Field(64, ge=2, description="Images per step.")
    learning_rate: float = Field(3.5e-4, gt=0, description="Learning rate after the warm-up.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of Adam.")
    schedule_every: Literal["step", "epoch"] = Field(
        "step", description="When the learning rate changes: at each step, or once per epoch as in CLIP-ReID."
    )
    warmup_epochs: int = Field(5, ge=0, description="Length of the linear warm-up in epochs.")
    warmup_learning_rate: float = Field(1e-5, gt=0, description="Learning rate at which the warm-up starts.")
    final_learning_rate: float = Field(1e-6, ge=0, description="Learning rate at which the cosine decay ends.")
    clothes_classes: Literal["auto", "labels", "cluster", "image", "none"] = Field(
        "auto",
        description="Where clothes classes come from. auto: the data set's labels if it has any, else "
        "cluster: clusters of clothes features "
        "within an identity; image: one class per image; none: no clothes prompts.",
    )
    cluster_distance: float = Field(0.2, ge=0, le=2, description="Cosine distance up to which clusters are merged.")
    without_clothes: Literal["keep", "drop"] = Field(
        "keep",
        description="Training images in which no clothes were found: keep them for the identity losses, or drop them.",
    )
    text_chunk: int = Field(256, ge=1, description="Classes whose text features are computed at once; bounds memory.")


class MethodSettings(SettingsGroup):
    """Which terms are in the sum of stage 2, with which weights, and when."""

    method: str = Field("ccaf", description="Name of a method; the guide to the method lists them.")
    weights: dict[str, FiniteFloat] = Field(
        default_factory=dict,
        description="Weights of single terms by name, in place of the method's; 0 leaves a term out.",
    )
    alternate: tuple[int, int] | None = Field(
        None,
        description="[n, m]: n steps that examine, then m other steps, in turn; null: one backward pass of the sum.",
    )
    start_epochs: dict[str, NonNegativeInt] = Field(
        default_factory=dict,
        description="Epochs that pass before a term enters the sum, by name of the term; 0 if not named.",
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

    epochs: int = Field(40, ge=1, description="Passes of the identity sampler.")
    learning_rate: float = Field(5e-6, gt=0, description="Learning rate after the warm-up; biases have twice as much.")
    head_factor: float = Field(
        1.0, gt=0, description="Learning rate of heads and Proj_c as a multiple of the encoders'."
    )
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of Adam.")
    schedule: Literal["cosine", "step"] = Field(
        "cosine", description="After the warm-up: cosine decay to zero, or a tenth at each milestone (CLIP-ReID's)."
    )
    schedule_every: Literal["step", "epoch"] = Field(
        "step", description="When the learning rate changes: at each step, or once per epoch as in CLIP-ReID."
    )
    milestones: tuple[int, ...] = Field((30, 50), description="Epochs at which the step schedule lowers the rate.")
    warmup_fraction: float = Field(
        0.1, ge=0, lt=1, description="Share of the steps in which the rate rises from a tenth to its full value."
    )

    @field_validator("milestones")
    @classmethod
    def _ascend(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("milestones must ascend, each above the one before it")
        return milestones


class SamplerSettings(SettingsGroup):
    """Which images come together in a batch of stage 2."""

    identities_per_batch: int = Field(16, ge=2, description="Identities per batch, P in the paper.")
    batch_per_worker: bool = Field(
        False,
        description="identities_per_batch is that of each worker, so that the batch which the losses see grows with "
        "--workers; false: the workers share one batch. Recorded is the number of all workers together.",
    )
    images_per_identity: int = Field(4, ge=2, description="Images per identity in a batch, K_p in the paper.")
    spread: Literal["none", "outfits", "cameras", "both"] = Field(
        "none", description="Spread the K_p images of an identity over its outfits, its cameras, or both."
    )

    def of_all(self, workers: int) -> Self:
        """The same with the identities of all workers together, whoever shares them."""
        identities = self.identities_per_batch * (workers if self.batch_per_worker else 1)
        return self.model_copy(update={"identities_per_batch": identities, "batch_per_worker": False})


class ViewSettings(SettingsGroup):
    """How the views of an image are augmented."""

    view_geometry: Literal["shared", "independent"] = Field(
        "shared", description="Whether the raw and the shielding view of an image share flip, crop and erased box."
    )
    flip_probability: float = Field(0.5, ge=0, le=1, description="Chance that an image is mirrored.")
    pad: int = Field(10, ge=0, description="Pixels of padding before the random crop.")
    erase_probability: float = Field(0.5, ge=0, le=1, description="Chance that a box is erased.")


class EncoderSettings(RedressSettings, ViewSettings, SamplerSettings, ScheduleSettings, MethodSettings):
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
        0, ge=0, description="Epochs of stage 2 between two checks, which choose the best weights; 0: no checks."
    )
    evaluate_split: Literal["val", "test"] = Field(
        "test", description="Images of the checks: the validation split, or query and gallery of the test."
    )
    evaluate_protocol: str | None = Field(
        None, description="Protocol of the checks; null: the data set's cloth-changing one, else its first."
    )
    evaluate_metric: Literal["mAP", "rank1", "mINP"] = Field("mAP", description="Figure that chooses the best weights.")


class TrainingSettings(ValidationSettings, TrainerSettings):
    """How both stages run: numbers, memory, states to go on from, checks between epochs."""
