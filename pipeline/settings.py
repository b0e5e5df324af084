"""The base of all groups of settings, those of parsers included."""

from pydantic import BaseModel, ConfigDict


class SettingsGroup(BaseModel):
    """Base of every group: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
