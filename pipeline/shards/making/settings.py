"""Settings of the section ``parse``: what decides the shards, and how the work on them is done."""

import json
from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.settings import SettingsGroup


class ShardSettings(SettingsGroup):
    """What decides the bytes of the shards besides the images themselves."""

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
    max_pixels: int = Field(64_000_000, ge=1, description="larger images are quarantined before decoding")
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


class WorkSettings(SettingsGroup):
    """How the work on the shards is done, which changes no byte of them."""

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

    @property
    def window(self) -> int:
        """Images that are decoded together, so that those of similar size make a batch."""
        return self.batch_size * self.bucket_batches


class ParseSettings(WorkSettings, ShardSettings):  # pydantic lists the fields of the last base first
    """Human parsing into shards."""

    max_bad: float = Field(0.01, ge=0, le=1, description="share of quarantined images above which the run fails")
