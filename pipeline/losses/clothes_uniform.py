"""ccaf-plus, in the place of L_dis: the clothes prompts should not tell which clothes a person wears."""

import math

import torch
from torch import Tensor

from pipeline.losses.settings import SimilaritySettings
from pipeline.losses.similarity import Similarity, similarity_logits
from pipeline.losses.terms import LossInputs, Term, present


class UniformSettings(SimilaritySettings):
    """Settings of the posteriors over clothes."""


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


def own_clothes_uniform_loss(
    images: Tensor, texts: Tensor, own: Tensor, similarity: Similarity = "dot", scale: float = 1.0
) -> Tensor:
    """:func:`clothes_uniform_loss` with the softmax over the clothes of the image's own identity only.

    A person's outfits are not to be told apart; what tells them from other people's outfits may stay, so that less of
    the same-clothes accuracy is lost. An image whose identity has a single clothes class adds 0.

    Args:
        images: f, (B, D).
        texts: Text features of all clothes classes, (K_c, D).
        own: Clothes classes of each image's identity, at least one, filled up with negative numbers, (B, most).
        similarity: See :func:`similarity_logits`.
        scale: See :func:`similarity_logits`.

    Returns:
        A scalar, not negative.
    """
    known = own >= 0
    logits = similarity_logits(images, texts, similarity, scale).gather(1, own.clamp(min=0))
    log_posteriors = logits.masked_fill(~known, -torch.inf).log_softmax(dim=1).masked_fill(~known, 0.0)
    counts = known.sum(dim=1).to(logits.dtype)
    return -(log_posteriors.sum(dim=1) / counts + counts.log()).mean()


def _of_all(inputs: LossInputs) -> Tensor | None:
    dressed = inputs.dressed()
    if dressed is None:
        return None
    settings = inputs.settings_as(UniformSettings)
    return clothes_uniform_loss(
        inputs.features.projected[dressed], present(inputs.clothes_texts), settings.similarity, inputs.scale
    )


def _of_own(inputs: LossInputs) -> Tensor | None:
    dressed = inputs.dressed()
    if dressed is None:
        return None
    settings = inputs.settings_as(UniformSettings)
    return own_clothes_uniform_loss(
        inputs.features.projected[dressed],
        present(inputs.clothes_texts),
        present(inputs.identity_clothes)[inputs.labels.identities[dressed]],
        settings.similarity,
        inputs.scale,
    )


SETTINGS = UniformSettings
TERMS = {
    "clothes_uniform": Term(_of_all, needs=frozenset({"clothes_texts"})),
    "clothes_uniform_own": Term(_of_own, needs=frozenset({"clothes_texts"}), weight=10.0),
}
