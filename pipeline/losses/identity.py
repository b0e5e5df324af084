"""L_id and L_id^s: identity cross-entropy with label smoothing plus triplet, for one stream (section 3.2)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.losses.settings import SmoothingSettings
from pipeline.losses.terms import Dimensions, LossInputs, StreamFeatures, Term
from pipeline.losses.triplet import batch_hard_triplet
from pipeline.models.heads import IdentityHeads


class IdentitySettings(SmoothingSettings):
    """Settings of L_id."""

    triplet_margin: float = Field(0.3, ge=0, description="Margin of the triplet loss.")
    identity_weight: float = Field(0.25, ge=0, description="Weight of each identity cross-entropy.")
    identity_features: Literal["all", "projected"] = Field(
        "all", description="Features under L_id: all three of CLIP-ReID, or the projected one only."
    )


def identity_loss(
    logits: Sequence[Tensor],
    features: Sequence[Tensor],
    labels: Tensor,
    cross_entropy_weight: float = 0.25,
    label_smoothing: float = 0.1,
    margin: float = 0.3,
) -> Tensor:
    """w * sum_l CE(logits_l, y) + sum_j triplet(f_j, y), with CE against (1 - e) onehot(y) + e / K.

    The defaults are CLIP-ReID's: classifiers on BN(hidden) and BN(projected) with weight 0.25 each; triplets on the
    11th block's class token, the hidden and the projected feature.

    Args:
        logits: Of each classifier, (B, K).
        features: Of each triplet term, (B, C).
        labels: Identities as class numbers, (B,).
        cross_entropy_weight: Weight of each cross-entropy.
        label_smoothing: See :func:`torch.nn.functional.cross_entropy`.
        margin: See :func:`batch_hard_triplet`.

    Returns:
        A scalar.
    """
    terms = [cross_entropy_weight * F.cross_entropy(item, labels, label_smoothing=label_smoothing) for item in logits]
    terms += [batch_hard_triplet(item, labels, margin) for item in features]
    return torch.stack(terms).sum()


def _heads(dimensions: Dimensions, generator: torch.Generator) -> IdentityHeads:
    hidden = dimensions.hidden if dimensions.settings_as(IdentitySettings).identity_features == "all" else None
    return IdentityHeads(hidden, dimensions.projected, dimensions.identities, generator)


def _of_stream(inputs: LossInputs, stream: StreamFeatures, heads: str) -> Tensor:
    settings = inputs.settings_as(IdentitySettings)
    every = [stream.earlier, stream.hidden, stream.projected]
    return identity_loss(
        inputs.parts[heads](stream.hidden, stream.projected),
        every if settings.identity_features == "all" else [stream.projected],
        inputs.labels.identities,
        settings.identity_weight,
        settings.label_smoothing,
        settings.triplet_margin,
    )


SETTINGS = IdentitySettings
TERMS = {
    "identity": Term(
        lambda inputs: _of_stream(inputs, inputs.features.raw, "raw_heads"),
        parts={"raw_heads": _heads},
    ),
    "identity_shielding": Term(
        lambda inputs: _of_stream(inputs, inputs.features.shielding, "shielding_heads"),
        needs=frozenset({"shielding"}),
        parts={"shielding_heads": _heads},
    ),
}
