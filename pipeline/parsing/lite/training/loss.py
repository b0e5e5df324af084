"""The parser's losses: cross-entropy that understands wide targets, and two of the clothes mask.

Targets have a higher resolution than logits; a position's logits answer for every pixel it covers. All functions take

- log probabilities (batch, classes, height, width), and
- targets int64 (batch, pixels, height, width), values as in ``targets.py``: the pixels that each position covers, from
  :func:`gather_pixels`. Ignored pixels do not count.
"""

from typing import Final

import torch
from torch import Tensor

from pipeline.labels import LIP
from pipeline.parsing.lite.targets import BAG, BAG_OUTPUT, CLASSES, IGNORE, SOME_CLOTHES, SOME_SHOE, TARGETS, meaning

RARE_LABELS: Final = tuple(
    LIP.labels.index(name) for name in ("hat", "glove", "sunglasses", "socks", "scarf", "jumpsuits")
)
"""Labels so rare and small that a network left alone never gives them."""
SMALL_TARGETS: Final = (*(LIP.labels.index(name) for name in ("hair", "left-shoe", "right-shoe")), SOME_SHOE, BAG)
"""What lies against clothes, is small, and is often taken for them."""


def gather_pixels(targets: Tensor, factor: int) -> Tensor:
    """From (batch, height x factor, width x factor) to (batch, factor^2, height, width)."""
    batch, height, width = targets.shape
    cells = targets.view(batch, height // factor, factor, width // factor, factor).permute(0, 2, 4, 1, 3)
    return cells.reshape(batch, factor * factor, height // factor, width // factor)


def wide_cross_entropy(
    log_probabilities: Tensor, targets: Tensor, rare_weight: float = 1.0, small_weight: float = 1.0
) -> Tensor:
    """Mean of -log P(target), where a wide target's probability is the sum over its labels; 0 if all are ignored.

    Pixels of :data:`RARE_LABELS` count ``rare_weight`` times in the sum, and once in its divisor; so do those of
    :data:`SMALL_TARGETS` with ``small_weight``.
    """
    wide = [_log_probability(log_probabilities, target) for target in range(CLASSES, TARGETS)]
    table = torch.cat([log_probabilities[:, :CLASSES], *wide], dim=1)
    counted = (targets != IGNORE).sum().clamp_min(1)
    weights = torch.ones(TARGETS, dtype=table.dtype, device=table.device)
    weights[list(RARE_LABELS)] = rare_weight
    weights[list(SMALL_TARGETS)] = small_weight
    return -(weights[targets] * table.gather(1, targets)).sum() / counted


def clothes_cross_entropy(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log P(clothes or not as wanted), where P(clothes) is the sum over LIP's clothes; 0 if all are ignored.

    This is what the masks depend on, without regard to which garment it is.
    """
    others = [label for label in range(log_probabilities.shape[1]) if label not in LIP.clothes]
    rest = log_probabilities[:, others].logsumexp(1, keepdim=True)
    chosen = torch.where(_is_clothes(targets), _clothes(log_probabilities), rest)
    counted = targets != IGNORE
    return -(chosen * counted).sum() / counted.sum().clamp_min(1)


def clothes_dice(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 - soft Dice of the union of clothes labels, over the whole batch.

    Dice of the batch rather than of each image, as the score to be raised is total intersection over total union.
    """
    clothes = _clothes(log_probabilities).exp()
    counted = (targets != IGNORE).to(clothes.dtype)
    wanted = _is_clothes(targets).to(clothes.dtype)
    overlap = (clothes * wanted).sum()
    total = (clothes * counted).sum() + wanted.sum()
    return 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)


def label_dice(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 - soft Dice of each label that is in the batch, their mean; 0 if there is none.

    A label's size does not matter here, as it does not in the mean IoU. Pixels whose label is not decided do not count.
    """
    outputs = log_probabilities.shape[1]
    places = targets.clone()
    places[targets >= CLASSES] = outputs
    if outputs > CLASSES:
        places[targets == BAG] = BAG_OUTPUT
    batch, _, height, width = targets.shape
    wanted = log_probabilities.new_zeros(batch, outputs + 1, height, width)
    wanted.scatter_add_(1, places, torch.ones_like(places, dtype=wanted.dtype))
    wanted = wanted[:, :outputs]
    found = log_probabilities.exp()
    pixels = wanted.sum((0, 2, 3))
    overlap = (found * wanted).sum((0, 2, 3))
    total = (found * wanted.sum(1, keepdim=True)).sum((0, 2, 3)) + pixels
    present = (pixels > 0).to(found.dtype)
    return (present * (1.0 - 2.0 * overlap / total.clamp_min(1.0))).sum() / present.sum().clamp_min(1.0)


def _log_probability(log_probabilities: Tensor, target: int) -> Tensor:
    if target == IGNORE:
        return torch.zeros_like(log_probabilities[:, :1])
    return log_probabilities[:, list(meaning(target, log_probabilities.shape[1]))].logsumexp(1, keepdim=True)


def _clothes(log_probabilities: Tensor) -> Tensor:
    return log_probabilities[:, sorted(LIP.clothes)].logsumexp(1, keepdim=True)


def _is_clothes(targets: Tensor) -> Tensor:
    return torch.isin(targets, torch.tensor([*sorted(LIP.clothes), SOME_CLOTHES], device=targets.device))
