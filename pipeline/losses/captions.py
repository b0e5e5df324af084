"""Texts of single images: features are drawn to what they say of the person, and turned from what they say of clothes.

DIFFER (Liang and Rawat, CVPR 2025, arXiv 2503.22912) aligns features with texts about the body by a contrastive loss. A
second projection finds the texts about clothes, and its gradient reaches the encoder with the sign turned. Here the two
halves of that are terms of their own, as (14) and (15) are: one examines, the other makes what was found orthogonal.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.losses.supervised_contrastive import supervised_contrastive
from pipeline.losses.terms import Dimensions, LossInputs, Term, present
from pipeline.settings import SettingsGroup


class CaptionSettings(SettingsGroup):
    """Texts of single images."""

    captions: Path | None = Field(
        None,
        description="Parquet file with features of texts about the training images: image_id, and the columns identity "
        "(what it says of the person) and clothes (of the clothes), or one of them; null: no term uses any.",
    )
    caption_scale: float = Field(20.0, gt=0, description="Scale of the cosines in caption_align.")
    lambda_caption_align: float = Field(1.0, ge=0, description="Weight of caption_align.")
    lambda_caption_orthogonal: float = Field(1.0, ge=0, description="Weight of caption_orthogonal.")


class CaptionProjection(nn.Module):
    """A matrix that takes an image feature into the space of the texts.

    Args:
        channels: D of the features.
        texts: T of the texts.
        generator: For the weights, which are normal with a deviation of D^-0.5.
    """

    def __init__(self, channels: int, texts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, texts, generator=generator) / channels**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D) -> (B, T)."""
        return features @ self.weight


def caption_alignment(images: Tensor, texts: Tensor, identities: Tensor, scale: float) -> Tensor:
    """Mean over images a of - mean over the texts p of a's person of log softmax_j( scale cos(f_a, t_j) )_p.

    All texts of the batch are compared; those of the same person are all right, whichever image they are about.

    Args:
        images: Projected features, (B, T).
        texts: One an image, (B, T).
        identities: Class numbers, (B,).
        scale: Of the cosines.

    Returns:
        A scalar.
    """
    return supervised_contrastive(images, texts.detach(), identities, identities, "cosine", scale)


def caption_examination(images: Tensor, texts: Tensor) -> Tensor:
    """Mean over the batch of 1 - cos(f_t, t): how well the texts can be found in the features.

    Args:
        images: Projected features, (B, T).
        texts: One an image, (B, T).

    Returns:
        A scalar in [0, 2].
    """
    return 1 - F.cosine_similarity(images, texts.detach(), dim=1).mean()


def caption_orthogonality(images: Tensor, texts: Tensor) -> Tensor:
    """Mean over the batch of cos(f_t, t)^2: 0 where nothing of the text is in the feature.

    Args:
        images: Projected features, (B, T).
        texts: One an image, (B, T).

    Returns:
        A scalar in [0, 1].
    """
    return F.cosine_similarity(images, texts.detach(), dim=1).pow(2).mean()


def _of_identity(dimensions: Dimensions, generator: torch.Generator) -> CaptionProjection:
    return CaptionProjection(dimensions.projected, dimensions.identity_captions, generator)


def _of_clothes(dimensions: Dimensions, generator: torch.Generator) -> CaptionProjection:
    return CaptionProjection(dimensions.projected, dimensions.clothes_captions, generator)


def _align(inputs: LossInputs) -> Tensor:
    features = inputs.features
    found = inputs.parts["identity_caption_projection"](features.projected)
    scale = inputs.settings_as(CaptionSettings).caption_scale
    return caption_alignment(found, present(features.identity_caption), inputs.labels.identities, scale)


def _examine(inputs: LossInputs) -> Tensor:
    found = inputs.parts["clothes_caption_projection"](inputs.features.projected.detach())
    return caption_examination(found, present(inputs.features.clothes_caption))


def _turn_away(inputs: LossInputs) -> Tensor:
    weight = inputs.parts["clothes_caption_projection"].weight
    found = inputs.features.projected @ weight.detach()  # type: ignore[operator]
    return caption_orthogonality(found, present(inputs.features.clothes_caption))


SETTINGS = CaptionSettings
TERMS = {
    "caption_align": Term(
        _align,
        needs=frozenset({"identity_captions"}),
        parts={"identity_caption_projection": _of_identity},
        weight="lambda_caption_align",
    ),
    "caption_examine": Term(
        _examine,
        needs=frozenset({"clothes_captions"}),
        parts={"clothes_caption_projection": _of_clothes},
        examines=True,
    ),
    "caption_orthogonal": Term(
        _turn_away,
        needs=frozenset({"clothes_captions"}),
        parts={"clothes_caption_projection": _of_clothes},
        weight="lambda_caption_orthogonal",
    ),
}
