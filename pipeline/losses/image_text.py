"""L_i2tce, equations (7), (9) and (14): cross-entropy of image features against the texts of ALL classes."""

import torch.nn.functional as F
from torch import Tensor

from pipeline.losses.similarity import Similarity, similarity_logits


def image_text_cross_entropy(
    images: Tensor,
    texts: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.1,
    similarity: Similarity = "dot",
    scale: float = 1.0,
) -> Tensor:
    """Cross-entropy over the similarities of each image to every class's text.

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
