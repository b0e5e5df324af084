"""s(.,.): how an image feature is compared with a text feature."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Similarity = Literal["dot", "cosine"]


def similarity_logits(images: Tensor, texts: Tensor, kind: Similarity, scale: float = 1.0) -> Tensor:
    """Logits (B, K) between image features (B, D) and text features (K, D).

    ``dot``: the plain product at temperature 1, as CLIP-ReID does. ``cosine``: of normalised features, times ``scale``
    (CLIP's exp(logit_scale)).
    """
    if kind == "dot":
        return images @ texts.T
    return scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
