"""ccaf-plus, in the place of L_dis: the clothes prompts should not tell an image's clothes class."""

import math

from torch import Tensor

from pipeline.losses.similarity import Similarity, similarity_logits
from pipeline.losses.terms import LossInputs, Term, present


def clothes_uniform_loss(images: Tensor, texts: Tensor, similarity: Similarity = "dot", scale: float = 1.0) -> Tensor:
    """Mean over the batch of KL(u || p), p = softmax_k s(f, T_k^c), u uniform over all K_c clothes classes.

    It is the cross-entropy to the uniform distribution less its least value log K_c: 0 means that nothing of the
    clothes is left. The texts are frozen: only E_v moves.

    Args:
        images: f, (B, D).
        texts: Text features of all clothes classes, (K_c, D).
        similarity: See :func:`similarity_logits`.
        scale: See :func:`similarity_logits`.

    Returns:
        A scalar, not negative.
    """
    log_posteriors = similarity_logits(images, texts, similarity, scale).log_softmax(dim=1)
    return -log_posteriors.mean() - math.log(len(texts))


def _of_dressed(inputs: LossInputs) -> Tensor | None:
    dressed = inputs.dressed()
    if dressed is None:
        return None
    settings = inputs.settings
    return clothes_uniform_loss(
        inputs.features.projected[dressed], present(inputs.clothes_texts), settings.similarity, settings.scale
    )


TERMS = {"clothes_uniform": Term(_of_dressed, needs=frozenset({"clothes_texts"}))}
