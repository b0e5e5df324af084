"""From the 59 labels of Clothing Co-Parsing (CCP, Yang et al. 2014) to LIP's 20, with the reasons.

Garments translate by name. What does not:

- ``bag``, ``purse``, ``wallet``: LIP has no bags; its annotators leave them to the background, and so do we where a
  parser is scored. In training they are bags.
- ``accessories``, ``necklace``, ``bracelet``, ``ring``, ``watch``, ``earrings``: in LIP part of whatever they lie on,
  which CCP does not say. Ignored in training.
- ``belt``: lies between two garments and belongs to either. ``suit``: CCP gives it to jackets and to whole suits;
  ``jumper`` to pullovers and to one-piece suits; ``bodysuit`` and underwear have no LIP class. All of them are clothes
  of an undecided kind.
- ``leggings``, ``tights``, ``stockings``: opaque legwear that changes with the outfit and cannot be told from narrow
  trousers at surveillance size: pants. ``socks`` end below the knee and stay socks.
- Outer garments worn open over others (``blazer``, ``cape``, ``cardigan``, ``coat``, ``jacket``): coat. ``vest`` has no
  sleeves and shows the arms: upper-clothes. ``tie`` lies on the shirt: upper-clothes. ``romper``: jumpsuits.
- ``skin`` is the whole body in one label and ``shoes`` (with every kind of shoe) has no side: divided by geometry,
  see :mod:`pipeline.parsing.lite.training.body_parts`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.images import LabelMap
from pipeline.parsing.lite.targets import BAG, IGNORE, LIP_NUMBER, SOME_CLOTHES, SOME_SHOE, SOME_SKIN
from pipeline.parsing.lite.training.body_parts import divide_body

_GROUPS: Final[dict[int, str]] = {
    LIP_NUMBER["background"]: "null",
    BAG: "bag purse wallet",
    IGNORE: "accessories necklace bracelet ring watch earrings",
    SOME_CLOTHES: "belt suit jumper bodysuit bra intimate panties swimwear",
    LIP_NUMBER["upper-clothes"]: "blouse hoodie shirt sweater sweatshirt t-shirt top vest tie",
    LIP_NUMBER["coat"]: "blazer cape cardigan coat jacket",
    LIP_NUMBER["dress"]: "dress",
    LIP_NUMBER["jumpsuits"]: "romper",
    LIP_NUMBER["pants"]: "jeans leggings pants shorts stockings tights",
    LIP_NUMBER["skirt"]: "skirt",
    LIP_NUMBER["scarf"]: "scarf",
    LIP_NUMBER["socks"]: "socks",
    LIP_NUMBER["hat"]: "hat",
    LIP_NUMBER["hair"]: "hair",
    LIP_NUMBER["sunglasses"]: "glasses sunglasses",
    LIP_NUMBER["glove"]: "gloves",
    SOME_SKIN: "skin",
    SOME_SHOE: "boots clogs flats heels loafers pumps sandals shoes sneakers wedges",
}

CCP_TO_TARGET: Final[dict[str, int]] = {name: target for target, names in _GROUPS.items() for name in names.split()}


def read_label_table(path: Path) -> NDArray[np.uint8]:
    """Table of 256 entries from CCP's label numbers to targets, from its ``label_list.json``.

    Raises:
        InputError: The file is missing, is no list of names, or has a name that CCP does not have.
    """
    names = read_json(path, "list of CCP labels")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"list of CCP labels {path}: expected a JSON list of names")
    return label_table(names, str(path))


def label_table(names: Sequence[str], source: str) -> NDArray[np.uint8]:
    """Table of 256 entries from label numbers to targets; numbers beyond the list are ignored pixels.

    Raises:
        InputError: A name is not one of CCP's; ``source`` says where it was read.
    """
    unknown = [name for name in names if name not in CCP_TO_TARGET]
    if unknown:
        raise InputError(f"{source}: no known CCP label: {', '.join(unknown)}")
    table = np.full(256, IGNORE, dtype=np.uint8)
    table[: len(names)] = [CCP_TO_TARGET[name] for name in names]
    return table


def ccp_target(labels: LabelMap, table: NDArray[np.uint8], bags: bool = False) -> LabelMap:
    """LIP target of one CCP label map (height, width), skin and shoes divided; bags are background unless ``bags``."""
    target = table[labels]
    carried = target == BAG
    target[carried] = LIP_NUMBER["background"]
    target = divide_body(target)
    if bags:
        target[carried] = BAG
    return target
