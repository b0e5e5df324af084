"""Settings of the section ``data``: which images the stages work on."""

from pydantic import Field

from pipeline.settings import SettingsGroup


class DataSettings(SettingsGroup):
    """Which data set the stages work on."""

    dataset: str = Field("walkers", description="Name of a data set in data_manifests/, or path of such a YAML file.")
    root: str | None = Field(None, description="Folder that holds the data sets; null: $CCAF_DATA.")
    frames_per_tracklet: int | None = Field(
        None, ge=1, description="Evenly spaced frames taken from each tracklet; null: all frames."
    )
