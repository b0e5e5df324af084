"""L_id: identity cross-entropy with label smoothing plus triplet, for one stream (section 3.2)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.losses.triplet import batch_hard_triplet


def identity_loss(
    logits: Sequence[Tensor],
    features: Sequence[Tensor],
    labels: Tensor,
    cross_entropy_weight: float = 0.25,
    label_smoothing: float = 0.1,
    margin: float = 0.3,
) -> Tensor:
    """Sum of the weighted cross-entropies of all classifiers and of the triplet losses of all features.

    The defaults are CLIP-ReID's: classifiers on BN(hidden) and BN(projected) with weight 0.25 each; triplets on the
    11th block's class token, the hidden and the projected feature.

    Args:
        logits: Of each classifier, (B, K).
        features: Of each triplet term, (B, C).
        labels: Identities as class numbers, (B,).
        cross_entropy_weight: Weight of each cross-entropy.
        label_smoothing: See :func:`torch.nn.functional.cross_entropy`.
        margin: See :func:`batch_hard_triplet`.

    Returns:
        A scalar.
    """
    terms = [cross_entropy_weight * F.cross_entropy(item, labels, label_smoothing=label_smoothing) for item in logits]
    terms += [batch_hard_triplet(item, labels, margin) for item in features]
    return torch.stack(terms).sum()
