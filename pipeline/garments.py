"""Names of garments: what a class of a network or a label of a scheme covers, in one place for all that ask.

Names are compared as :func:`normalise_name` writes them. A class may name several garments (``shirt, blouse``), and may
say how long its sleeves are (``long sleeve top``, as DeepFashion2 does).
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

Region = Literal["upper", "lower", "dress", "coat", "shoes", "hat"]
REGIONS: Final[tuple[Region, ...]] = get_args(Region)
CLOTHES: Final[tuple[Region, ...]] = ("upper", "lower", "dress", "coat")
"""The regions that clothes masks cover, and that are changed where nobody says more."""

NAMES: Final[Mapping[Region, frozenset[str]]] = {
    "upper": frozenset(
        {
            "blouse", "hoodie", "jumper", "pullover", "shirt", "sling", "sweater", "sweatshirt", "t-shirt", "tank-top",
            "top", "tshirt", "upper", "upper-clothes", "upper-clothing", "vest",
        }
    ),
    "lower": frozenset(
        {"jeans", "leggings", "lower-clothes", "lower-clothing", "pants", "shorts", "skirt", "trousers"}
    ),
    "dress": frozenset({"dress", "jumpsuit", "jumpsuits", "robe", "romper", "sling-dress", "vest-dress"}),
    "coat": frozenset({"blazer", "cape", "cardigan", "coat", "jacket", "outer", "outerwear", "outwear"}),
    "shoes": frozenset({"boots", "left-shoe", "right-shoe", "shoe", "shoes"}),
    "hat": frozenset({"cap", "hat"}),
}  # fmt: skip
"""Names of garments by the part of the body that they are worn on."""

_BODY: Final[Mapping[str, Region]] = {"upper-body": "upper", "lower-body": "lower"}
"""Names that schemes without garments have for the dressed parts of a body: no garments, but where they are worn."""

SEVERAL: Final = frozenset(
    {
        "apparel", "belt", "clothes", "suit",
        # parts of a garment that some data sets (Fashionpedia) have as classes of their own
        "collar", "epaulette", "hood", "lapel", "neckline", "pocket", "sleeve",
    }
)  # fmt: skip
"""Names that may be worn on more than one part of the body, or are parts of another garment."""

GARMENTS: Final = frozenset().union(*(NAMES[region] for region in CLOTHES)) | SEVERAL
"""Names of what is covered by default: garments of body and legs with the belt, as in ATR; no shoes, hats, bags, scarfs
or socks."""

_SLEEVES: Final = re.compile(r"^(short|long)-sleeved?-")
"""How DeepFashion2 begins its names."""


def normalise_name(name: str) -> str:
    """A label name as this project writes them: lower case, words joined by hyphens."""
    return re.sub(r"[\W_]+", "-", name.casefold()).strip("-")


def _parts(name: str) -> list[str]:
    return [_SLEEVES.sub("", normalise_name(part)) for part in re.split(r"[,/]", name)]


def is_garment(name: str) -> bool:
    """Whether a class, such as ``Upper-clothes`` or ``shirt, blouse``, holds garments and nothing else."""
    return all(part in GARMENTS for part in _parts(name))


def region_of(name: str) -> Region | None:
    """Where the garment that a label names is worn; None if it names none, or garments of several parts of the body."""
    by_name = {**{each: region for region in REGIONS for each in NAMES[region]}, **_BODY}
    found = {by_name.get(part) for part in _parts(name)}
    return found.pop() if len(found) == 1 else None
