"""A trained image encoder together with the one that it began as: points between the two, without training.

Training takes clothes out of the features, which helps where people wear others and costs where they wear the same. The
encoder before training still has them, and gets a share in two ways: its weights are averaged with the trained ones
(WiSE-FT, arXiv 2109.01903, section 3), or its features are compared as well, at a small weight.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.image_encoder import FeatureKind, ImageEncoder, ImageFeatures

PAIR_KEY = "clip_weight"
"""Name of a tensor that only weights of a :class:`PairedEncoder` have."""


def average_weights(trained: Mapping[str, Tensor], first: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """share * trained + (1 - share) * first, tensor by tensor; tensors that are not of floats are the trained ones.

    Args:
        trained: Weights by name.
        first: Those before training, of the same names and shapes.
        share: Of the trained ones, in (0, 1].
    """
    return {
        name: torch.lerp(first[name], value, share) if value.is_floating_point() else value
        for name, value in trained.items()
    }


def join_features(trained: Tensor, first: Tensor, weight: Tensor) -> Tensor:
    """One feature whose cosine similarity is the weighted mean of two.

    For two images, s = (s_trained + weight * s_first) / (1 + weight).

    Args:
        trained: (B, D).
        first: Of the same images by the encoder before training, (B, D').
        weight: A scalar, not negative.

    Returns:
        (B, D + D'), every row of length 1.
    """
    share = weight / (1 + weight)
    return torch.cat(
        [F.normalize(trained, dim=1) * (1 - share).sqrt(), F.normalize(first, dim=1) * share.sqrt()], dim=1
    )


class PairedEncoder(ImageEncoder):
    """A trained encoder and the one before training; of every feature it gives both, side by side.

    They are neither normalised nor weighted before they are compared, so that they can be averaged over an image and
    its mirror image as those of any encoder.

    Args:
        trained: E_v, without a camera embedding.
        first: The encoder before training, of the same architecture.
        clip_weight: See :class:`pipeline.models.settings.BlendSettings`.
    """

    clip_weight: Tensor

    def __init__(self, trained: ImageEncoder, first: ImageEncoder, clip_weight: float) -> None:
        nn.Module.__init__(self)  # there is no single tower
        self.camera_embedding = None
        self.trained, self.first = trained, first
        self.register_buffer(PAIR_KEY, torch.tensor(clip_weight))
        self.projected_dim = trained.projected_dim + first.projected_dim
        self.hidden_dim = trained.hidden_dim + first.hidden_dim
        self.earlier_dim = trained.earlier_dim + first.earlier_dim

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """Features of both, the trained one's first; see :meth:`ImageEncoder.forward`."""
        pairs = zip(self.trained(images), self.first(images), strict=True)
        return ImageFeatures(*(torch.cat(pair, dim=1) for pair in pairs))

    def compared(self, features: ImageFeatures, kind: FeatureKind) -> Tensor:
        """Both encoders' own, joined by :func:`join_features`; see :meth:`ImageEncoder.compared`."""
        halves = [feature.chunk(2, dim=1) for feature in features]
        trained, first = (ImageFeatures(*(half[number] for half in halves)) for number in (0, 1))
        return join_features(self.trained.compared(trained, kind), self.first.compared(first, kind), self.clip_weight)
