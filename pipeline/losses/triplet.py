"""The triplet part of L_id: batch-hard triplets on Euclidean distance (Hermans et al. 2017), margin 0.3."""

import torch
from torch import Tensor


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Mean over the batch of max(0, margin + d(hardest positive) - d(hardest negative)).

    Args:
        features: (B, C), not normalised, as in CLIP-ReID's recipe.
        labels: Identities, (B,); at least two different ones.
        margin: In units of the distance.

    Returns:
        A scalar.
    """
    squared = features.pow(2).sum(dim=1)
    distances = (squared[:, None] + squared[None, :] - 2 * features @ features.T).clamp(min=1e-12).sqrt()
    same = labels[:, None] == labels[None, :]
    hardest_positive = distances.masked_fill(~same, -torch.inf).amax(dim=1)
    hardest_negative = distances.masked_fill(same, torch.inf).amin(dim=1)
    return (margin + hardest_positive - hardest_negative).clamp(min=0).mean()
