"""Parameters of what comes before training: data, the CLIP, parsing, loading."""

import json
from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.config.section import Section


class DataParameters(Section):
    """Which data set the stages work on."""

    dataset: str = Field("walkers", description="name in data_manifests/, or path of such a YAML file")
    root: str | None = Field(None, description="folder that holds the data sets; default $CCAF_DATA")
    frames_per_tracklet: int | None = Field(None, ge=1, description="evenly spaced frames of a tracklet; null: all")


class SynthParameters(Section):
    """The rendered data set (walkers)."""

    height: int = Field(128, ge=64, le=512, description="image height in pixels; the width is half of it")
    train_identities: int = Field(96, ge=2, description="people in the training split")
    test_identities: int = Field(60, ge=2, description="other people, in query and gallery")
    outfits: int = Field(3, ge=2, description="outfits a person has at the most; at least two")
    images_per_outfit: int = Field(4, ge=1, description="images of a person in one outfit")
    cameras: int = Field(
        4, ge=2, le=12, description="cameras, each with its own light, colour, blur, noise and background"
    )
    pretrain_images: int = Field(7000, ge=16, description="captioned images of the separate population")
    variant: Literal["standard", "hard"] = Field(
        "standard", description="hard: a small pool of shared garments, stronger cameras, more occlusion"
    )


class ModelParameters(Section):
    """The CLIP that everything starts from."""

    name: str = Field("ViT-B-16-quickgelu", description="open_clip model name, or path of an open_clip JSON config")
    pretrained: str | None = Field(
        "openai", description="open_clip tag, a weights file, or builtin:walker-clip; null: random weights"
    )
    stem: Literal["patch", "conv"] = Field("patch", description="patch embedding: one convolution, or a stack of 3x3")
    image_size: tuple[int, int] = Field((256, 128), description="height and width in pixels")
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
    pixel_std: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="divisor of each channel")


class PretrainParameters(Section):
    """Contrastive pre-training of a small CLIP on captioned walkers."""

    epochs: int = Field(6, ge=1, description="passes over the captioned images")
    batch_size: int = Field(48, ge=2, description="images a step")
    learning_rate: float = Field(2e-3, gt=0, description="peak of the one-cycle schedule")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")
    caption_every: int = Field(4, ge=1, description="steps between two caption InfoNCE terms")
    grey_box_probability: float = Field(
        0.3, ge=0, le=1, description="chance of grey boxes on an image, so that shielding is nothing new"
    )


class ParseParameters(Section):
    """Human parsing into shards."""

    parser: str = Field("lite", description="name of a registered parser")
    settings: dict[str, Any] = Field(default_factory=dict, description="the parser's own settings")
    clothes_labels: list[str] | None = Field(None, description="names of labels to cover; null: the scheme's default")
    fill: Literal["white", "black", "mean", "noise", "blur"] = Field(
        "white", description="what covers clothes; the paper's is white"
    )
    dilate: int = Field(0, ge=0, description="pixels by which the clothes mask is grown; the paper has none")
    fill_holes: bool = Field(False, description="also cover background that clothes enclose; the paper does not")
    shard_rows: int = Field(512, ge=1, description="images in a shard at the most; small data sets get smaller shards")
    row_group_rows: int = Field(64, ge=1, description="images in a Parquet row group")
    batch_size: int = Field(16, ge=1, description="images handed to the parser at once; changes no result")
    bucket_batches: int = Field(
        4, ge=1, description="batches among whose images those of similar size are put together; changes no result"
    )
    io_threads: int = Field(2, ge=1, description="threads a worker reads and decodes with, and as many to encode")
    gpus_per_worker: float = Field(1.0, gt=0, description="GPUs a worker takes on CUDA; 0.5: two workers share one")
    restarts: int = Field(3, ge=0, description="how often a shard may cost a worker's life before the run fails")
    shard_timeout: float = Field(
        0.0, ge=0, description="seconds for one shard after which its worker is replaced as hung; 0: no limit"
    )
    max_pixels: int = Field(64_000_000, ge=1, description="larger images are quarantined before decoding")
    max_bad: float = Field(0.01, ge=0, le=1, description="share of quarantined images above which the run fails")
    min_person_fraction: float = Field(0.02, ge=0, le=1, description="below it an image is flagged no_person")
    low_confidence: float = Field(0.5, ge=0, le=1, description="below it an image is flagged low_confidence")

    @field_validator("settings")
    @classmethod
    def _as_stored(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """As the shards store them: in JSON every key is a text, in YAML it may be a number."""
        try:
            stored: dict[str, Any] = json.loads(json.dumps(settings, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"only texts, numbers, lists and mappings can be recorded ({error})") from None
        return stored


class LoadingParameters(Section):
    """How images come from the shards to the networks; changes no result."""

    pixels: Literal["auto", "always", "never"] = Field(
        "auto", description="keep decoded images on local disk: auto (for training, where they fit), always, never"
    )
    gigabytes: float = Field(64.0, gt=0, description="most that the decoded images of a run may take, in 10^9 bytes")
    threads: int = Field(2, ge=1, description="threads that make training batches")
    ahead: int = Field(4, ge=0, description="training batches made ahead of their step; 0: none")
