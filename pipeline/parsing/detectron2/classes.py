"""What the classes of a network mean: presets of public data sets, and the map from class names to a label scheme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from pipeline.errors import InputError
from pipeline.labels import LabelScheme, find_scheme
from pipeline.settings import SettingsGroup
from pipeline.yaml_files import read_yaml

HeadKind = Literal["instances", "sem_seg"]

PRESETS: Final = Path(__file__).parent / "presets"
PRESET_NAMES: Final = ("cihp", "deepfashion2", "fashionpedia", "lip", "modanet")


class Preset(SettingsGroup):
    """Facts of a data set that public networks were trained on."""

    title: str = Field(description="name of the data set")
    source: str = Field(description="where its class names and their order come from")
    head: HeadKind = Field(description="kind of head that is used")
    config: str = Field(description="file beside it: the library's standard network of that kind")
    garments_only: bool = Field(description="true: it has no classes for heads and limbs")
    scheme: str | dict[str, Any] = Field(description="label scheme, by name or described")
    classes: dict[str, str | None] = Field(description="class names in the data set's order, and the label of each")


def load_preset(name: str) -> Preset:
    """A packaged preset.

    Raises:
        InputError: There is none of that name.
    """
    if name not in PRESET_NAMES:
        raise InputError(f"unknown preset {name!r} of the parser detectron2; known: {', '.join(PRESET_NAMES)}")
    return Preset.model_validate(read_yaml(PRESETS / f"{name}.yaml", "preset"))


@dataclass(frozen=True)
class ClassMap:
    """Classes of a network and the label number that each is given.

    Attributes:
        names: Class names, in the order of the network's outputs.
        targets: Label number of each class; None: the class is not painted (a semantic head: it is background).
        scheme: Of the label numbers.
    """

    names: tuple[str, ...]
    targets: tuple[int | None, ...]
    scheme: LabelScheme

    def check_count(self, count: int, where: str) -> None:
        """Check that a head has these classes.

        Raises:
            InputError: It has another number of them.
        """
        if count != len(self.names):
            raise InputError(
                f"the {where} has {count} classes, but {len(self.names)} class names are given; "
                f"list them all in parse.settings.classes, in the order of training (an instance head counts no "
                f"background, a semantic head counts it)"
            )


def map_classes(
    preset: Preset | None,
    classes: Sequence[str] | None,
    labels: Mapping[str, str | None] | None,
    scheme: str | Mapping[str, Any] | None,
    garments_only: bool | None,
) -> ClassMap:
    """Put together what a preset says and what the user says, who wins; every class must be mapped.

    Args:
        preset: A data set's facts, or None.
        classes: Class names in the network's order; None: the preset's.
        labels: Label of each class, or None for a class that is not painted; they are added to the preset's.
        scheme: Label scheme by name or description; None: the preset's, or else LIP.
        garments_only: See :class:`pipeline.labels.LabelScheme`; None: as the preset says, or if every label in
            the map is one of clothes.

    Raises:
        InputError: Class names are missing, double or unknown, or a label is not in the scheme.
    """
    names = tuple(classes if classes is not None else preset.classes if preset else ())
    if not names:
        raise InputError("the parser detectron2 needs class names: parse.settings.classes, or parse.settings.preset")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"parse.settings.classes: the class {twice[0]!r} is listed twice")
    unknown = sorted(set(labels or {}) - set(names))
    if unknown:
        raise InputError(f"parse.settings.labels: {unknown[0]!r} is not a class; the classes are: {', '.join(names)}")
    mapped = {**(preset.classes if preset else {}), **(labels or {})}
    missing = [name for name in names if name not in mapped]
    if missing:
        raise InputError(
            f"parse.settings.labels does not map {', '.join(missing)}; give each class a label, or null to leave it out"
        )
    if scheme is None:
        scheme = preset.scheme if preset else "lip"
    found = find_scheme(scheme)
    targets = tuple(_number(found, name, mapped[name]) for name in names)
    painted = {target for target in targets if target}
    if not painted:
        raise InputError("parse.settings.labels gives no class a label other than the background")
    if garments_only is None:
        only_clothes = painted <= found.clothes
        garments_only = (preset is not None and preset.garments_only) or only_clothes
    return ClassMap(names, targets, replace(found, garments_only=garments_only))


def _number(scheme: LabelScheme, name: str, label: str | None) -> int | None:
    if label is None:
        return None
    if label not in scheme.labels:
        raise InputError(
            f"parse.settings.labels gives the class {name!r} the label {label!r}, which the scheme {scheme.name} does "
            f"not have; it has: {', '.join(scheme.labels)}"
        )
    return scheme.labels.index(label)
