"""Parameters of the two stages of training."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, field_validator

from pipeline.config.section import Section
from pipeline.training.methods import find_method


class PromptParameters(Section):
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


class EncoderParameters(Section):
    """Stage 2: training the encoders (equations 7, 9, 10, 14, 15, 17)."""

    method: str = Field("ccaf", description="name of a method, see the table of methods")
    weights: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="weights of terms by name, over the method's; 0 leaves a term out"
    )
    epochs: int = Field(40, ge=1, description="passes of the identity sampler")
    identities_per_batch: int = Field(16, ge=2, description="P")
    images_per_identity: int = Field(4, ge=2, description="K_p")
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
    similarity: Literal["dot", "cosine"] = Field("dot", description="as in prompts.similarity")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="in the identity and image-text cross-entropies")
    triplet_margin: float = Field(0.3, ge=0, description="margin of the triplet loss")
    identity_weight: float = Field(0.25, ge=0, description="weight of each identity cross-entropy")
    identity_features: Literal["all", "projected"] = Field(
        "all", description="features under L_id; all: CLIP-ReID's three; projected: the 512-d one only"
    )
    lambda_con: float = Field(0.1, ge=0, description="lambda_1, weight of the image-image alignment L_con (10)")
    lambda_dis: float = Field(1.0, ge=0, description="lambda_2, weight of the disentangle loss L_dis (15)")
    disentangle: Literal["cos2", "cos", "abs", "as-printed"] = Field(
        "cos2", description="form of L_dis (15); cos2 stops at orthogonal, as-printed raises the cosine"
    )
    alternate: tuple[int, int] | None = Field(
        None, description="examine steps and other steps in turn, [n, m]; null: one backward pass of the sum"
    )
    start_epochs: dict[str, NonNegativeInt] = Field(
        default_factory=dict, description="epochs that pass before a term enters the sum, by name; 0 where not named"
    )
    target: Literal["cached", "computed"] = Field(
        "cached", description="frozen shielding features of ccaf-plus: of each image once, or of each augmented view"
    )
    cal_epsilon: float = Field(0.1, ge=0, le=1, description="CAL: share of the target over all clothes of the person")
    cal_scale: float = Field(16.0, gt=0, description="CAL: scale of its cosine classifier")
    spread: Literal["none", "outfits", "cameras", "both"] = Field(
        "none", description="spread an identity's K_p images over its outfits, cameras, or both"
    )
    view_geometry: Literal["shared", "independent"] = Field(
        "shared", description="whether raw and shielding view of an image share flip, crop and erased box"
    )
    flip_probability: float = Field(0.5, ge=0, le=1, description="chance of mirroring an image")
    pad: int = Field(10, ge=0, description="pixels of padding before the random crop")
    erase_probability: float = Field(0.5, ge=0, le=1, description="chance of an erased box")

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


CHANGE_NO_RESULT = frozenset(
    {"save_minutes", "save_steps", "max_failures", "tensorboard", "recompute_activations", "accumulation"}
)
"""Of :class:`TrainingParameters`, but for rounding."""

OF_CUDA = frozenset({"deterministic", "tf32"})
"""Of :class:`TrainingParameters`: they decide the result on CUDA and change nothing on a CPU."""


class TrainingParameters(Section):
    """How both stages run: numbers, memory, states to go on from, checks between epochs."""

    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="numbers of the networks; weights and losses stay fp32; fp16 needs CUDA"
    )
    tf32: bool = Field(
        False, description="CUDA: products of fp32 may round to TF32, 10 bits; faster; false: full fp32, as on a CPU"
    )
    deterministic: bool = Field(
        False, description="CUDA: only algorithms that repeat every bit; slower; changes nothing on a CPU"
    )
    recompute_activations: bool = Field(
        False, description="gradient checkpointing of stage 2: less memory, a third more time, equal gradients"
    )
    accumulation: int = Field(
        1, ge=1, description="parts in which a batch of stage 2 goes through the encoders; the losses see it whole"
    )
    clip_gradients: float | None = Field(None, gt=0, description="largest norm of all gradients together; null: any")
    save_minutes: float = Field(5.0, gt=0, description="time between two states to go on from")
    save_steps: int = Field(0, ge=0, description="steps between two states; 0: by time only")
    max_failures: int = Field(3, ge=0, description="how often workers may die before the run fails")
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
    tensorboard: bool = Field(False, description="also write curves for TensorBoard, to <out>-tensorboard")
