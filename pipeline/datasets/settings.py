"""Settings of the section ``data``: which images the stages work on."""

from pydantic import Field

from pipeline.settings import SettingsGroup


class DataSettings(SettingsGroup):
    """Which data set the stages work on."""

    dataset: str = Field("walkers", description="name in data_manifests/, or path of such a YAML file")
    root: str | None = Field(None, description="folder that holds the data sets; default $CCAF_DATA")
    frames_per_tracklet: int | None = Field(None, ge=1, description="evenly spaced frames of a tracklet; null: all")
