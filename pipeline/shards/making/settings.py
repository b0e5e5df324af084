"""Settings of the section ``parse``: what decides the shards, and how the work on them is done."""

import json
from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.settings import SettingsGroup


class ShardSettings(SettingsGroup):
    """What decides the bytes of the shards besides the images themselves."""

    parser: str = Field("lite", description="Name of the parser.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings of the parser itself.")
    clothes_labels: list[str] | None = Field(
        None, description="Names of the labels that are covered as clothes; null: the label scheme's default."
    )
    fill: Literal["white", "black", "mean", "noise", "blur"] = Field(
        "white", description="What covers clothes; the paper uses white."
    )
    shielded_images: Literal["stored", "made"] = Field(
        "stored",
        description="stored: the shards hold the shielding images; made: they do not, are about a third as large, and "
        "whoever reads them makes the same pixels from image and mask.",
    )
    dilate: int = Field(0, ge=0, description="Pixels by which the clothes mask is grown; the paper does not grow it.")
    fill_holes: bool = Field(
        False, description="Also cover background that is enclosed by clothes; the paper does not."
    )
    shard_rows: int = Field(512, ge=1, description="Most images per shard; small data sets get smaller shards.")
    row_group_rows: int = Field(64, ge=1, description="Images per Parquet row group.")
    max_pixels: int = Field(
        64_000_000, ge=1, description="Most pixels of an image; larger ones are quarantined before they are decoded."
    )
    min_person_fraction: float = Field(
        0.02, ge=0, le=1, description="Share of person pixels below which an image is flagged no_person."
    )
    low_confidence: float = Field(
        0.5, ge=0, le=1, description="Mean confidence below which an image is flagged low_confidence."
    )

    @field_validator("settings")
    @classmethod
    def _as_stored(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """As the shards store them: in JSON every key is a text, in YAML it may be a number."""
        try:
            stored: dict[str, Any] = json.loads(json.dumps(settings, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"only texts, numbers, lists and mappings can be recorded ({error})") from None
        return stored


class WorkSettings(SettingsGroup):
    """How the work on the shards is done, which changes no byte of them."""

    batch_size: int = Field(
        32,
        ge=1,
        description="Images handed to the parser at once: on a GPU best a multiple of parse.settings.batch_size, so "
        "that every forward pass is full; changes no result.",
    )
    bucket_batches: int = Field(
        2, ge=1, description="Batches among whose images those of similar size are grouped; changes no result."
    )
    io_threads: int = Field(
        2, ge=1, description="Threads per worker that read and decode, and as many again that encode."
    )
    gpus_per_worker: float = Field(
        0.0,
        ge=0,
        description="GPUs per worker on CUDA; at 0.5 two workers share one GPU; 0: chosen by the number of workers "
        "(in a cluster, each then has a GPU) or, without it, by the CPUs and the memory of the weakest GPU.",
    )

    @field_validator("gpus_per_worker")
    @classmethod
    def _as_ray_counts(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError("a worker has a fraction of one GPU, or a whole number of them")
        return gpus

    restarts: int = Field(3, ge=0, description="How many workers one shard may cost before the run fails.")
    shard_timeout: float = Field(
        0.0,
        ge=0,
        description="Seconds for one shard after which its worker counts as hung and is replaced; 0: no limit.",
    )

    @property
    def window(self) -> int:
        """Images that are decoded together, so that those of similar size make a batch."""
        return self.batch_size * self.bucket_batches


class ParseSettings(WorkSettings, ShardSettings):  # pydantic lists the fields of the last base first
    """Human parsing into shards."""

    max_bad: float = Field(0.01, ge=0, le=1, description="Share of quarantined images above which the run fails.")
