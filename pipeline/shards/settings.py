"""Settings of the section ``loading``: how images come from the shards."""

from typing import Literal

from pydantic import Field

from pipeline.settings import SettingsGroup

PixelPolicy = Literal["auto", "always", "never"]


class LoadingSettings(SettingsGroup):
    """How images come from the shards to the networks; changes no result."""

    pixels: PixelPolicy = Field(
        "auto", description="keep decoded images on local disk: auto (for training, where they fit), always, never"
    )
    gigabytes: float = Field(64.0, gt=0, description="most that the decoded images of a run may take, in 10^9 bytes")
    threads: int = Field(2, ge=1, description="threads that make training batches")
    ahead: int = Field(4, ge=0, description="training batches made ahead of their step; 0: none")
