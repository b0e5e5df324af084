"""Label schemes: which number means which part of a person, and which of them are clothes by default.

Numbers and names are those of the data sets LIP (Gong et al. 2017), CIHP (Gong et al. 2018), ATR (Liang et al. 2015)
and Pascal-Person-Part (Chen et al. 2014). CIHP has the skin of the torso where LIP has jumpsuits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from pipeline.errors import InputError
from pipeline.settings import SettingsGroup
from pipeline.yaml_files import read_yaml


@dataclass(frozen=True)
class LabelScheme:
    """A numbering of label maps.

    Attributes:
        name: Short name, such as ``lip``.
        labels: Name of each label number; number 0 is the background.
        clothes: Label numbers that the shielding image covers by default; empty if the scheme has no clothes.
        garments_only: True if the parser that has this scheme finds clothes but neither heads nor limbs: then a label
            map says where clothes are and not where the person is, and the quality flags about persons do not apply.
    """

    name: str
    labels: tuple[str, ...]
    clothes: frozenset[int]
    garments_only: bool = False

    def numbers_of(self, names: list[str]) -> frozenset[int]:
        """Turn label names into numbers.

        Raises:
            InputError: A name is not in the scheme, or the list is empty.
        """
        unknown = [name for name in names if name not in self.labels]
        if unknown:
            raise InputError(
                f"label scheme {self.name} has no label {', '.join(unknown)}; it has: {', '.join(self.labels)}"
            )
        if not names:
            raise InputError("the list of clothes labels is empty; name at least one label")
        return frozenset(self.labels.index(name) for name in names)

    def named_clothes(self, names: list[str]) -> frozenset[int]:
        """Numbers of labels that the user names as clothes.

        Raises:
            InputError: A name is not in the scheme or is the background's, or the list is empty.
        """
        numbers = self.numbers_of(names)
        if 0 in numbers:
            raise InputError(
                f"label scheme {self.name}: the label {self.labels[0]} has number 0 and means nobody: it is no garment"
            )
        return numbers

    def clothes_labels(self, names: list[str] | None) -> frozenset[int]:
        """The clothes labels: those named by the user, else the scheme's default.

        Raises:
            InputError: The scheme has no clothes labels and none were named, or a name is unknown or the background's.
        """
        if names is not None:
            return self.named_clothes(names)
        if not self.clothes:
            raise InputError(
                f"label scheme {self.name} has body parts but no clothes labels, so a clothes mask cannot be made "
                f"from it; choose another parser, or name the labels to cover in parse.clothes_labels"
            )
        return self.clothes


LIP = LabelScheme(
    name="lip",
    labels=(
        "background", "hat", "hair", "glove", "sunglasses", "upper-clothes", "dress", "coat", "socks", "pants",
        "jumpsuits", "scarf", "skirt", "face", "left-arm", "right-arm", "left-leg", "right-leg", "left-shoe",
        "right-shoe",
    ),
    clothes=frozenset({5, 6, 7, 9, 10, 12}),
)  # fmt: skip

CIHP = LabelScheme(
    name="cihp",
    labels=tuple("torso-skin" if label == "jumpsuits" else label for label in LIP.labels),
    clothes=LIP.clothes - {LIP.labels.index("jumpsuits")},
)

ATR = LabelScheme(
    name="atr",
    labels=(
        "background", "hat", "hair", "sunglasses", "upper-clothes", "skirt", "pants", "dress", "belt", "left-shoe",
        "right-shoe", "face", "left-leg", "right-leg", "left-arm", "right-arm", "bag", "scarf",
    ),
    clothes=frozenset({4, 5, 6, 7, 8}),
)  # fmt: skip

PASCAL = LabelScheme(
    name="pascal",
    labels=("background", "head", "torso", "upper-arms", "lower-arms", "upper-legs", "lower-legs"),
    clothes=frozenset(),
)

SCHEMES = {scheme.name: scheme for scheme in (LIP, CIHP, ATR, PASCAL)}


class SchemeDescription(SettingsGroup):
    """A label scheme that a user describes, in a YAML file or in place."""

    name: str = Field(min_length=1, description="short name, written into the shards")
    labels: list[str] = Field(min_length=2, max_length=256, description="names of the numbers 0, 1, 2, ...; 0 is none")
    clothes: list[str] = Field(default_factory=list, description="names of the labels covered by default")
    garments_only: bool = Field(False, description="true: the parser finds neither heads nor limbs")


def find_scheme(value: str | Mapping[str, Any]) -> LabelScheme:
    """The label scheme that a setting names or describes.

    Args:
        value: A name in :data:`SCHEMES`, the path of a YAML file of a :class:`SchemeDescription`, or its fields.

    Raises:
        InputError: There is no such scheme or file, or the description is wrong.
    """
    if isinstance(value, str):
        if value in SCHEMES:
            return SCHEMES[value]
        path = Path(value)
        if path.suffix not in (".yaml", ".yml"):
            raise InputError(
                f"unknown label scheme {value!r}; known: {', '.join(SCHEMES)}, or a YAML file with name, labels "
                f"and clothes"
            )
        return _described(read_yaml(path, "label scheme"), str(path))
    return _described(value, "the label scheme")


def _described(value: Any, where: str) -> LabelScheme:
    try:
        description = SchemeDescription.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise InputError(f"{where}: {problems}") from None
    twice = sorted({name for name in description.labels if description.labels.count(name) > 1})
    if twice:
        raise InputError(f"{where}: the label {twice[0]} is listed twice")
    scheme = LabelScheme(description.name, tuple(description.labels), frozenset(), description.garments_only)
    if not description.clothes:
        return scheme
    return replace(scheme, clothes=scheme.named_clothes(description.clothes))
