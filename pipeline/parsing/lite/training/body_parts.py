"""Division of undivided skin and shoes into face, arms, legs and left and right shoes, by where they lie on the body.

The unit of height is the person's, from the top of the head (0) to the soles (1). In an upright adult the chin lies
at 0.13, the shoulders at 0.18, the crotch at 0.5, the tips of hanging fingers at 0.6 and the knees at 0.72. A connected
piece of skin is therefore a leg if it reaches below 0.66, the face if it begins above 0.13, and else an arm. Where two
are joined (an arm against a bare thigh, shoulders in a sleeveless dress) it is cut at those heights, and the stretch
where both are possible stays undecided. Sides are those of the person, as in LIP; CCP's people face the camera, so the
image's right is the person's left. Where no face is visible, and near the body's axis, the side stays undecided.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, Mask
from pipeline.labels import LIP
from pipeline.parsing.lite.targets import (
    IGNORE,
    LIP_NUMBER,
    SOME_ARM,
    SOME_CLOTHES,
    SOME_LEG,
    SOME_SHOE,
    SOME_SKIN,
)

CHIN: Final = 0.13
NECK: Final = 0.20
ELBOW: Final = 0.40
FINGERTIPS: Final = 0.60
KNEE: Final = 0.66
AXIS_MARGIN: Final = 0.02
SMALL_PIECE: Final = 8
FACE: Final = LIP_NUMBER["face"]
HEAD: Final = (LIP_NUMBER["hair"], LIP_NUMBER["hat"], LIP_NUMBER["sunglasses"])


def divide_body(target: LabelMap) -> LabelMap:
    """Replace ``SOME_SKIN`` and ``SOME_SHOE`` of a target (height, width) by LIP labels where that can be decided."""
    person = (target != 0) & (target != IGNORE)
    if not person.any():
        return target
    rows = np.flatnonzero(person.any(axis=1))
    top, height = int(rows[0]), int(rows[-1] - rows[0] + 1)
    level = (np.arange(target.shape[0]) + 0.5 - top) / height
    divided = target.copy()
    _divide_skin(divided, target, level)
    faces_camera = bool((divided == FACE).any())
    axis = _body_axis(target, level)
    margin = AXIS_MARGIN * height
    if faces_camera:
        for wide, name in ((SOME_ARM, "arm"), (SOME_LEG, "leg"), (SOME_SHOE, "shoe")):
            _divide_sides(divided, wide, name, axis, margin)
    return divided


def _pieces(mask: Mask) -> list[Mask]:
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [numbers == number for number in range(1, count)]


def _divide_skin(divided: LabelMap, target: LabelMap, level: NDArray[np.float64]) -> None:
    head = np.isin(target, HEAD)
    columns = np.flatnonzero(head.any(axis=0))
    beside = np.zeros(target.shape[1], dtype=np.bool_)
    if columns.size:
        beside[: columns[0]] = beside[columns[-1] + 1 :] = True
    heights = np.broadcast_to(level[:, None], target.shape)
    for piece in _pieces(target == SOME_SKIN):
        levels = heights[piece]
        start, end = float(levels.min()), float(levels.max())
        part = np.full(target.shape, SOME_ARM, dtype=np.uint8)
        if start < CHIN:
            part[heights < NECK] = FACE
            part[(heights < NECK) & beside[None, :]] = SOME_SKIN
            # a décolleté goes on below the neck; it is neither face nor surely arm
            part[(heights >= NECK) & (heights < ELBOW)] = SOME_SKIN
        if end > KNEE:
            part[heights > FINGERTIPS] = SOME_LEG
            part[(heights >= ELBOW) & (heights <= FINGERTIPS)] = SOME_LEG if start >= ELBOW else SOME_SKIN
        elif start >= ELBOW and end > FINGERTIPS:
            part[:] = SOME_SKIN
        divided[piece] = part[piece]


def _body_axis(target: LabelMap, level: NDArray[np.float64]) -> float:
    trunk = np.isin(target, [*LIP.clothes, SOME_CLOTHES]) & ((level > NECK) & (level < FINGERTIPS))[:, None]
    columns = np.nonzero(trunk if trunk.any() else (target != 0))[1]
    return float(np.median(columns))


def _divide_sides(divided: LabelMap, wide: int, name: str, axis: float, margin: float) -> None:
    """Give each piece of ``wide`` its side: by its centre, or cut along the middle where the piece lies on the axis."""
    left, right = LIP_NUMBER[f"left-{name}"], LIP_NUMBER[f"right-{name}"]
    pieces = [piece for piece in _pieces(divided == wide) if int(piece.sum()) >= SMALL_PIECE]
    centres = [float(np.nonzero(piece)[1].mean()) for piece in pieces]
    middle = axis
    if name != "arm" and len(pieces) >= 2:
        # feet and legs stand left and right of one another rather than of the trunk, which may lean
        middle = (min(centres) + max(centres)) / 2
    for piece, centre in zip(pieces, centres, strict=True):
        columns = np.nonzero(piece)[1]
        astride = columns.min() < middle - 2 * margin and columns.max() > middle + 2 * margin
        if abs(centre - middle) > margin and not (astride and name == "leg"):
            divided[piece] = left if centre > middle else right
        elif astride and name != "arm":
            x = np.arange(divided.shape[1])[None, :]
            divided[piece & (x > middle + margin / 2)] = left
            divided[piece & (x < middle - margin / 2)] = right
