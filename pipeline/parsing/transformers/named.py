"""Published models that can be chosen by one word: where each is, what its classes mean, and its licence."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from pipeline.errors import InputError
from pipeline.garments import normalise_name
from pipeline.labels import find_scheme
from pipeline.parsing.transformers.labels import ModelLabels, mapped_labels
from pipeline.settings import SettingsGroup
from pipeline.yaml_files import read_yaml

PRESETS: Final = Path(__file__).parent / "presets"
PRESET_NAMES: Final = ("clothes-b2", "clothes-b3", "fashn")


class Preset(SettingsGroup):
    """Facts of a published model."""

    title: str = Field(description="what it is")
    model: str = Field(description="its name on the Hugging Face hub")
    licence: str = Field(description="what its authors allow, in a few words")
    scheme: str | dict[str, Any] = Field(description="label scheme, by name or described")
    classes: dict[str, str] = Field(description="class names in the model's order, and the label of each")


@cache
def load_preset(name: str) -> Preset:
    """A packaged preset.

    Raises:
        InputError: There is none of that name.
    """
    if normalise_name(name).startswith("sapiens"):
        raise InputError(
            "Sapiens has no preset: the licence of Sapiens2 forbids surveillance and biometric processing, which "
            "re-identification is; whether yours allows it is yours to judge (parse.settings.model)"
        )
    if name not in PRESET_NAMES:
        raise InputError(f"unknown preset {name!r} of the parser transformers; known: {', '.join(PRESET_NAMES)}")
    return Preset.model_validate(read_yaml(PRESETS / f"{name}.yaml", "preset"))


def presets_in_words() -> str:
    """All presets with their licences, for people who choose one."""
    return ", ".join(f"{name} ({load_preset(name).licence})" for name in PRESET_NAMES)


def preset_labels(preset: Preset, classes: Sequence[str]) -> ModelLabels:
    """What the classes of a model mean according to its preset.

    Raises:
        InputError: The model has other classes than the preset, or the same in another order.
    """
    expected = [normalise_name(each) for each in preset.classes]
    if [normalise_name(each) for each in classes] != expected:
        raise InputError(
            f"the model has other classes ({', '.join(classes[:4])}, ...) than {preset.model}, which the preset is "
            f"for; leave parse.settings.preset out, or name a scheme in parse.settings.scheme"
        )
    labels = dict(zip(classes, preset.classes.values(), strict=True))
    return mapped_labels(classes, find_scheme(preset.scheme), labels)
