"""ccaf-plus, in the place of I2I: raw features are pulled to the frozen encoder's features of the shielding image."""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.losses.terms import LossInputs, Term, present
from pipeline.settings import SettingsGroup


class TargetSettings(SettingsGroup):
    """Settings of the alignment to the frozen encoder."""

    target: Literal["cached", "computed"] = Field(
        "cached",
        description="Frozen shielding features of ccaf-plus: cached once per image, or computed "
        "for each augmented view.",
    )


def target_alignment(raw: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of 1 - cos(f, t); t gets no gradient.

    Args:
        raw: f, (B, D).
        target: t, features of the same images shielded, by the frozen encoder, (B, D).

    Returns:
        A scalar in [0, 2].
    """
    return 1 - F.cosine_similarity(raw, target.detach(), dim=1).mean()


def _of_test_features(inputs: LossInputs) -> Tensor:
    """Mean of the alignments of the two features that retrieval compares: hidden and projected."""
    features, target = inputs.features, present(inputs.features.target)
    channels = features.hidden.shape[1]
    hidden = target_alignment(features.hidden, target[:, :channels])
    return (hidden + target_alignment(features.projected, target[:, channels:])) / 2


SETTINGS = TargetSettings
TERMS = {"target_alignment": Term(_of_test_features, needs=frozenset({"target"}), weight=20.0)}
