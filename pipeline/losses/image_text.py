"""L_i2tce, equations (7), (9) and (14): cross-entropy of image features against the texts of ALL classes."""

import torch.nn.functional as F
from torch import Tensor

from pipeline.losses.parts import clothes_projection
from pipeline.losses.settings import SimilaritySettings, SmoothingSettings
from pipeline.losses.similarity import Similarity, similarity_logits
from pipeline.losses.terms import LossInputs, Term, present


class ImageTextSettings(SimilaritySettings, SmoothingSettings):
    """Settings of L_i2tce."""


def image_text_cross_entropy(
    images: Tensor,
    texts: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.1,
    similarity: Similarity = "dot",
    scale: float = 1.0,
) -> Tensor:
    """Mean over the batch of - sum_k q_k log( exp s(f, T_k) / sum_j exp s(f, T_j) ), q = (1 - e) onehot(y) + e / K.

    Args:
        images: f (7), f^s (9) or f^c (14): (B, D).
        texts: Text features of all classes, (K, D).
        labels: Class numbers, (B,).
        label_smoothing: Share of the target spread evenly over the classes.
        similarity: See :func:`similarity_logits`.
        scale: See :func:`similarity_logits`.

    Returns:
        A scalar.
    """
    logits = similarity_logits(images, texts, similarity, scale)
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _to_texts(inputs: LossInputs, images: Tensor, texts: Tensor | None, labels: Tensor) -> Tensor:
    settings = inputs.settings_as(ImageTextSettings)
    return image_text_cross_entropy(
        images, present(texts), labels, settings.label_smoothing, settings.similarity, inputs.scale
    )


def _examine(inputs: LossInputs) -> Tensor | None:
    """(14): the gradient reaches Proj_c and nothing else, since f is detached."""
    dressed = inputs.dressed()
    if dressed is None:
        return None
    clothes = inputs.parts["clothes_projection"](inputs.features.projected[dressed].detach())
    return _to_texts(inputs, clothes, inputs.clothes_texts, inputs.labels.clothes_classes[dressed])


SETTINGS = ImageTextSettings
TERMS = {
    "i2t": Term(
        lambda inputs: _to_texts(inputs, inputs.features.projected, inputs.identity_texts, inputs.labels.identities),
        needs=frozenset({"identity_texts"}),
    ),
    "i2t_shielding": Term(
        lambda inputs: _to_texts(
            inputs, inputs.features.shielding.projected, inputs.identity_texts, inputs.labels.identities
        ),
        needs=frozenset({"identity_texts", "shielding"}),
    ),
    "i2t_clothes": Term(
        _examine,
        needs=frozenset({"clothes_texts"}),
        parts={"clothes_projection": clothes_projection},
        examines=True,
    ),
}
