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
from pipeline.parsing.lite.targets import IGNORE, SOME_CLOTHES, WIDE_TARGETS

RARE_LABELS: Final = tuple(
    LIP.labels.index(name) for name in ("hat", "glove", "sunglasses", "socks", "scarf", "jumpsuits")
)
"""Labels so rare and small that a network left alone never gives them."""


def gather_pixels(targets: Tensor, factor: int) -> Tensor:
    """From (batch, height x factor, width x factor) to (batch, factor^2, height, width)."""
    batch, height, width = targets.shape
    cells = targets.view(batch, height // factor, factor, width // factor, factor).permute(0, 2, 4, 1, 3)
    return cells.reshape(batch, factor * factor, height // factor, width // factor)


def wide_cross_entropy(log_probabilities: Tensor, targets: Tensor, rare_weight: float = 1.0) -> Tensor:
    """Mean of -log P(target), where a wide target's probability is the sum over its labels; 0 if all are ignored.

    Pixels of :data:`RARE_LABELS` count ``rare_weight`` times in the sum, and once in its divisor.
    """
    wide = [log_probabilities[:, list(labels)].logsumexp(1, keepdim=True) for labels in WIDE_TARGETS.values()]
    ignored = torch.zeros_like(log_probabilities[:, :1])
    table = torch.cat([log_probabilities, *wide, ignored], dim=1)
    counted = (targets != IGNORE).sum().clamp_min(1)
    weights = torch.ones(IGNORE + 1, dtype=table.dtype, device=table.device)
    weights[list(RARE_LABELS)] = rare_weight
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


def _clothes(log_probabilities: Tensor) -> Tensor:
    return log_probabilities[:, sorted(LIP.clothes)].logsumexp(1, keepdim=True)


def _is_clothes(targets: Tensor) -> Tensor:
    return torch.isin(targets, torch.tensor([*sorted(LIP.clothes), SOME_CLOTHES], device=targets.device))
