"""L_i2t and L_t2i of stage 1, equations (5), (6) for identities and (12), (13) for clothes."""

from torch import Tensor

from pipeline.losses.similarity import Similarity, similarity_logits


def supervised_contrastive(
    anchors: Tensor,
    others: Tensor,
    anchor_labels: Tensor,
    other_labels: Tensor,
    similarity: Similarity = "dot",
    scale: float = 1.0,
) -> Tensor:
    """Mean over anchors of - mean over positives p of log( exp s(a, p) / sum_j exp s(a, j) ).

    With images as anchors it is L_i2t, with texts as anchors L_t2i. Several ``others`` with the anchor's label are all
    positives.

    Args:
        anchors: (B, D).
        others: (N, D).
        anchor_labels: (B,).
        other_labels: (N,). Every anchor needs at least one of its own label among them.
        similarity: See :func:`similarity_logits`.
        scale: See :func:`similarity_logits`.

    Returns:
        A scalar.
    """
    log_probabilities = similarity_logits(anchors, others, similarity, scale).log_softmax(dim=1)
    positives = (anchor_labels[:, None] == other_labels[None, :]).to(log_probabilities.dtype)
    return -((positives * log_probabilities).sum(dim=1) / positives.sum(dim=1)).mean()
