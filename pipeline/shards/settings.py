"""Settings of the section ``loading``: how images come from the shards."""

from typing import Literal

from pydantic import Field

from pipeline.settings import SettingsGroup

PixelPolicy = Literal["auto", "always", "never"]


class LoadingSettings(SettingsGroup):
    """How images come from the shards to the networks; changes no result."""

    pixels: PixelPolicy = Field(
        "auto",
        description="Whether decoded images are kept on local disk: auto (for training, if they fit), always, never.",
    )
    gigabytes: float = Field(64.0, gt=0, description="Most disk space for the decoded images of a run, in 10^9 bytes.")
    threads: int = Field(2, ge=1, description="Threads that make training batches.")
    ahead: int = Field(4, ge=0, description="Training batches made ahead of their step; 0: none.")
