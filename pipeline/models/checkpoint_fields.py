"""The fields of a checkpoint's configuration that the program reads back, with their types."""

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, model_validator

from pipeline.artifacts import Artifact, Count, Sha256, Word
from pipeline.models.settings import LARGEST_SIDE, Divisor, Side

LARGEST_GRID: Final = 1 << 17
"""Cells of a grid of positions; the largest image by patches of 16 pixels has half as many."""

_ABSENT: Any = None
"""Default of a field that need not be there; where it is there, null is as wrong as any other type."""

OwnFile = Annotated[str, Field(pattern=r"\A[^\x00-\x1f]{1,1000}\z")]
Id = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class NetworkFields(Artifact):
    """A network's description; an unknown field is refused, for it would decide the network."""

    model_config = ConfigDict(extra="forbid")

    name: Word
    stem: Literal["patch", "conv"]
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    grid: Annotated[list[Side], Field(min_length=2, max_length=2)]
    pixel_mean: Channels
    pixel_std: Annotated[list[Divisor], Field(min_length=3, max_length=3)]
    stride: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> "NetworkFields":
        if self.grid[0] * self.grid[1] > LARGEST_GRID:
            raise ValueError(f"grid: {self.grid[0]} x {self.grid[1]} cells are more than {LARGEST_GRID:,}")
        return self


class BlendFields(Artifact):
    """Of a blended encoder: how much of the CLIP before training it has, and the hash of the trained one."""

    trained_share: Annotated[float, Field(gt=0, le=1)]
    clip_weight: Annotated[float, Field(ge=0)]
    checkpoint_sha256: Sha256


class CheckpointFields(Artifact):
    """A checkpoint's configuration; which of the fields a kind has, its readers say."""

    kind: Word
    version: Word = _ABSENT
    weights_sha256: Sha256
    files: list[OwnFile] = _ABSENT
    dataset: Word = _ABSENT
    seed: Count = _ABSENT
    model: NetworkFields = _ABSENT
    parameters: dict[str, Any] = _ABSENT
    training: dict[str, Any] = _ABSENT
    camera_embedding: Annotated[float, Field(ge=0)] = _ABSENT
    shards_sha256: Word = _ABSENT
    prompts_sha256: Word = _ABSENT
    clip_sha256: Word = _ABSENT
    method: Word = _ABSENT
    terms: dict[Word, float] = _ABSENT
    epochs: Count = _ABSENT
    clothes_feature_minimisation: bool = _ABSENT
    identity_images: Word = _ABSENT
    clothes_source: Word = _ABSENT
    images: Count = _ABSENT
    identities: Count = _ABSENT
    clothes_classes: Count = _ABSENT
    images_dropped: Count = _ABSENT
    images_without_clothes_class: Count = _ABSENT
    identity_ids: list[Id] = _ABSENT
    clothes_ids: list[Id] = _ABSENT
    loss: float | None = _ABSENT
    blend: BlendFields = _ABSENT
