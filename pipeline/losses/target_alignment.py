"""ccaf-plus, in the place of I2I: the raw feature is pulled to the frozen encoder's feature of the shielding image."""

import torch.nn.functional as F
from torch import Tensor

from pipeline.losses.terms import Term, present


def target_alignment(raw: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of 1 - cos(f, t); t gets no gradient.

    Args:
        raw: f, (B, D).
        target: t, features of the same images shielded, by the frozen encoder, (B, D).

    Returns:
        A scalar in [0, 2].
    """
    return 1 - F.cosine_similarity(raw, target.detach(), dim=1).mean()


TERMS = {
    "target_alignment": Term(
        lambda inputs: target_alignment(inputs.features.projected, present(inputs.features.target)),
        needs=frozenset({"target"}),
    )
}
