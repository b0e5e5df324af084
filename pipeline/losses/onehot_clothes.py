"""Table 4, row 2: the clothes prompts are replaced by one-hot labels, a plain classifier on f^c examines."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.losses.parts import clothes_projection
from pipeline.losses.settings import SmoothingSettings
from pipeline.losses.terms import Dimensions, LossInputs, Term


class OnehotSettings(SmoothingSettings):
    """Settings of the one-hot clothes labels."""


def onehot_clothes_loss(logits: Tensor, classes: Tensor, label_smoothing: float = 0.1) -> Tensor:
    """Mean over the batch of - sum_k q_k log softmax(W f^c)_k, q = (1 - e) onehot(c) + e / K_c.

    Args:
        logits: W f^c, (B, K_c).
        classes: Clothes classes, (B,).
        label_smoothing: e.

    Returns:
        A scalar.
    """
    return F.cross_entropy(logits, classes, label_smoothing=label_smoothing)


def _classifier(dimensions: Dimensions, generator: torch.Generator) -> nn.Module:
    layer = nn.Linear(dimensions.projected, dimensions.clothes_classes, bias=False)
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.001, generator=generator)  # as the identity classifiers
    return layer


def _examine(inputs: LossInputs) -> Tensor | None:
    """As (14) it moves Proj_c (and the classifier), never E_v: f is detached."""
    dressed = inputs.dressed()
    if dressed is None:
        return None
    clothes = inputs.parts["clothes_projection"](inputs.features.projected[dressed].detach())
    logits = inputs.parts["clothes_classifier"](clothes)
    return onehot_clothes_loss(
        logits, inputs.labels.clothes_classes[dressed], inputs.settings_as(OnehotSettings).label_smoothing
    )


SETTINGS = OnehotSettings
TERMS = {
    "onehot_clothes": Term(
        _examine,
        needs=frozenset({"clothes_classes"}),
        parts={"clothes_projection": clothes_projection, "clothes_classifier": _classifier},
        examines=True,
    )
}
