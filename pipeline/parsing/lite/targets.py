"""Training targets: LIP labels, and a few wider targets for pixels whose LIP label cannot be decided.

A wider target names a set of LIP labels of which one is right. The loss asks only that the set as a whole be probable
(see ``loss.py``), so an undecidable pixel teaches what is known about it and nothing that is not.

LIP has no label for what people carry; its annotators leave bags to the background. A network that is to keep bags out
of the clothes learns them better as what they are, so it may have one output more, :data:`BAG_OUTPUT`, which is counted
as background when it is used.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap
from pipeline.labels import LIP

LIP_NUMBER: Final[dict[str, int]] = {name: number for number, name in enumerate(LIP.labels)}
CLASSES: Final = len(LIP.labels)
BAG_OUTPUT: Final = CLASSES
"""Number of the output for bags, of a network that has one."""
OUTPUTS: Final = CLASSES + 1
"""Outputs of a network with one for bags."""

SOME_CLOTHES: Final = 20
SOME_SKIN: Final = 21
SOME_ARM: Final = 22
SOME_LEG: Final = 23
SOME_SHOE: Final = 24
IGNORE: Final = 25
BAG: Final = 26
NO_PERSON: Final = 27
TARGETS: Final = 28

WIDE_TARGETS: Final[dict[int, tuple[int, ...]]] = {
    SOME_CLOTHES: tuple(sorted(LIP.clothes)),
    SOME_SKIN: (13, 14, 15, 16, 17),
    SOME_ARM: (14, 15),
    SOME_LEG: (16, 17),
    SOME_SHOE: (18, 19),
    BAG: (0,),
    NO_PERSON: (0,),
}


def meaning(target: int, outputs: int) -> tuple[int, ...]:
    """Outputs of which one is right for a target other than :data:`IGNORE`, of a network with so many outputs."""
    if outputs > CLASSES and target in (BAG, NO_PERSON):
        return (BAG_OUTPUT,) if target == BAG else (0, BAG_OUTPUT)
    return WIDE_TARGETS.get(target, (target,))


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
