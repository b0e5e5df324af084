"""Training targets: LIP labels, and a few wider targets for pixels whose LIP label cannot be decided.

A wider target names a set of LIP labels of which one is right. The loss asks only that the set as a whole be probable
(see ``loss.py``), so an undecidable pixel teaches what is known about it and nothing that is not.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap
from pipeline.labels import LIP

LIP_NUMBER: Final[dict[str, int]] = {name: number for number, name in enumerate(LIP.labels)}
CLASSES: Final = len(LIP.labels)

SOME_CLOTHES: Final = 20
SOME_SKIN: Final = 21
SOME_ARM: Final = 22
SOME_LEG: Final = 23
SOME_SHOE: Final = 24
IGNORE: Final = 25
TARGETS: Final = 26

WIDE_TARGETS: Final[dict[int, tuple[int, ...]]] = {
    SOME_CLOTHES: tuple(sorted(LIP.clothes)),
    SOME_SKIN: (13, 14, 15, 16, 17),
    SOME_ARM: (14, 15),
    SOME_LEG: (16, 17),
    SOME_SHOE: (18, 19),
}

LEFT_RIGHT_PAIRS: Final = ((14, 15), (16, 17), (18, 19))


def _mirror_table() -> NDArray[np.uint8]:
    table = np.arange(256, dtype=np.uint8)
    for left, right in LEFT_RIGHT_PAIRS:
        table[left], table[right] = right, left
    return table


MIRRORED: Final = _mirror_table()


def mirror(target: LabelMap) -> LabelMap:
    """Flip a target left to right: what was the left arm is the right one now."""
    return np.ascontiguousarray(MIRRORED[target[:, ::-1]])


def is_clothes(target: LabelMap) -> NDArray[np.bool_]:
    """True where a target is one of LIP's clothes, decided or not; same shape."""
    table = np.zeros(256, dtype=np.bool_)
    table[[*LIP.clothes, SOME_CLOTHES]] = True
    return table[target]
