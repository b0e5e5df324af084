"""The parser's loss: cross-entropy that understands wide targets, and a soft Dice loss of the clothes mask."""

import torch
from torch import Tensor

from pipeline.parsing.lite.targets import IGNORE, SOME_CLOTHES, WIDE_TARGETS
from pipeline.parsing.schemes import LIP


def wide_cross_entropy(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log P(target), where a wide target's probability is the sum over its labels.

    Args:
        log_probabilities: (batch, classes, height, width).
        targets: int64 (batch, height, width), values as in ``targets.py``; ignored pixels do not count.

    Returns:
        A scalar; 0 if every pixel is ignored.
    """
    wide = [log_probabilities[:, list(labels)].logsumexp(1, keepdim=True) for labels in WIDE_TARGETS.values()]
    ignored = torch.zeros_like(log_probabilities[:, :1])
    table = torch.cat([log_probabilities, *wide, ignored], dim=1)
    counted = (targets != IGNORE).sum().clamp_min(1)
    return -table.gather(1, targets[:, None]).sum() / counted


def clothes_dice(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 - soft Dice of the union of clothes labels, over the whole batch.

    Dice of the batch rather than of each image, as the score to be raised is total intersection over total union.
    """
    labels = sorted(LIP.clothes)
    clothes = log_probabilities[:, labels].logsumexp(1).exp()
    counted = (targets != IGNORE).to(clothes.dtype)
    wanted = torch.isin(targets, torch.tensor([*labels, SOME_CLOTHES], device=targets.device)).to(clothes.dtype)
    overlap = (clothes * wanted).sum()
    total = (clothes * counted).sum() + wanted.sum()
    return 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
