"""The three published models of SCHP: their file names, input sizes and label schemes."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pipeline.labels import ATR, LIP, PASCAL, LabelScheme

REPOSITORY: Final = "GoGoDuck912/Self-Correction-Human-Parsing"
"""On GitHub; its README links the weights."""

VariantName: TypeAlias = Literal["lip", "atr", "pascal"]


@dataclass(frozen=True)
class Variant:
    """One published model.

    Attributes:
        name: What users write.
        file_name: Of the published weights.
        size: Height and width of the network's input in pixels.
        scheme: Of its labels.
    """

    name: VariantName
    file_name: str
    size: int
    scheme: LabelScheme


VARIANTS: Final[dict[str, Variant]] = {
    variant.name: variant
    for variant in (
        Variant("lip", "exp-schp-201908261155-lip.pth", 473, LIP),
        Variant("atr", "exp-schp-201908301523-atr.pth", 512, ATR),
        Variant("pascal", "exp-schp-201908270938-pascal-person-part.pth", 512, PASCAL),
    )
}


def where_from(variant: Variant) -> str:
    """Where users get the weights, for the end of a message."""
    return f"expected {variant.file_name}, which the README of {REPOSITORY} on GitHub links"
