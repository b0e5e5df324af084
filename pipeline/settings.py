"""The base of all groups of settings, those of parsers included."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, field_validator

LARGEST_NUMBER: Final = 2**31 - 1
"""Of every whole number among the settings, seeds included: what any library counts with holds it."""


def _too_large(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) > LARGEST_NUMBER
    if isinstance(value, Mapping):
        return any(map(_too_large, value.values()))
    return isinstance(value, list | tuple) and any(map(_too_large, value))


class SettingsGroup(BaseModel):
    """Base of every group: frozen; unknown keys, numbers that are not finite and huge whole numbers are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        if _too_large(value):
            raise ValueError(f"whole numbers go up to {LARGEST_NUMBER:,}")
        return value
