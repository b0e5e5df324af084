"""CAL (Gu et al., CVPR 2022): a clothes classifier is trained, and the features are trained against it."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.losses.terms import Dimensions, LossInputs, Term, present
from pipeline.settings import SettingsGroup


class CalSettings(SettingsGroup):
    """Settings of CAL."""

    cal_epsilon: float = Field(
        0.1, ge=0, le=1, description="CAL: share of the target that is spread over all clothes of the person."
    )
    cal_scale: float = Field(16.0, gt=0, description="CAL: scale of its cosine classifier.")


class CosineClassifier(nn.Module):
    """Cosine of the features with one weight a class, as CAL's classifier.

    Args:
        channels: C of the features.
        classes: K_c.
        generator: For the weights, which start on the unit sphere.
    """

    def __init__(self, channels: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(classes, channels, generator=generator), dim=1))

    def forward(self, features: Tensor, fixed: bool = False) -> Tensor:
        """Features (B, C) -> cosines (B, K_c); ``fixed`` takes the weights out of the gradient."""
        weight = self.weight.detach() if fixed else self.weight
        return F.normalize(features, dim=1) @ F.normalize(weight, dim=1).T


def clothes_adversarial_loss(logits: Tensor, classes: Tensor, positives: Tensor, epsilon: float = 0.1) -> Tensor:
    """CAL's multi-positive loss: clothes of the same person are not told apart, those of others are negatives.

    Mean over the batch of - sum_c q_c log( exp z_c / (exp z_c + sum_{j not in P} exp z_j) ), where P are the clothes
    classes of the image's identity and q = (1 - epsilon) onehot(own class) + epsilon / |P| on P.

    Args:
        logits: z, scaled similarities to all clothes classes, (B, K_c).
        classes: Own clothes class, (B,).
        positives: P of each image, boolean (B, K_c); its own class is among them.
        epsilon: Share of the target that is spread over P.

    Returns:
        A scalar.
    """
    negatives = logits.masked_fill(positives, -torch.inf).logsumexp(dim=1, keepdim=True)
    log_probabilities = logits - torch.logaddexp(logits, negatives)
    target = epsilon * positives.to(logits.dtype) / positives.sum(dim=1, keepdim=True)
    target = target + (1 - epsilon) * F.one_hot(classes, logits.shape[1]).to(logits.dtype)
    return -(target * log_probabilities).sum(dim=1).mean()


def positive_clothes(identities: Tensor, identity_clothes: Tensor, classes: int) -> Tensor:
    """Which clothes classes belong to each image's identity.

    Args:
        identities: (B,).
        identity_clothes: See :class:`pipeline.losses.terms.LossInputs`.
        classes: K_c.

    Returns:
        Boolean, (B, K_c).
    """
    own = identity_clothes[identities]
    positives = torch.zeros(len(own), classes + 1, dtype=torch.bool, device=own.device)
    positives.scatter_(1, torch.where(own < 0, classes, own), True)  # the fillers fall into a column of their own
    return positives[:, :classes]


def _classifier(dimensions: Dimensions, generator: torch.Generator) -> nn.Module:
    return CosineClassifier(dimensions.projected, dimensions.clothes_classes, generator)


def _examine(inputs: LossInputs) -> Tensor | None:
    """Cross-entropy of the classifier on detached features: it moves the classifier only."""
    dressed = inputs.dressed()
    if dressed is None:
        return None
    cosines = inputs.parts["cal_classifier"](inputs.features.projected[dressed].detach())
    return F.cross_entropy(inputs.settings_as(CalSettings).cal_scale * cosines, inputs.labels.clothes_classes[dressed])


def _adversarial(inputs: LossInputs) -> Tensor | None:
    """The classifier is fixed: only E_v moves."""
    dressed = inputs.dressed()
    if dressed is None:
        return None
    settings = inputs.settings_as(CalSettings)
    cosines = inputs.parts["cal_classifier"](inputs.features.projected[dressed], fixed=True)
    classes = inputs.labels.clothes_classes[dressed]
    own = positive_clothes(inputs.labels.identities[dressed], present(inputs.identity_clothes), cosines.shape[1])
    # a redressed view may wear what is none of its identity's own
    positives = own.scatter(1, classes[:, None], True)
    return clothes_adversarial_loss(settings.cal_scale * cosines, classes, positives, settings.cal_epsilon)


SETTINGS = CalSettings
TERMS = {
    "cal_classifier": Term(
        _examine, needs=frozenset({"clothes_classes"}), parts={"cal_classifier": _classifier}, examines=True
    ),
    "cal_adversarial": Term(_adversarial, needs=frozenset({"clothes_classes"}), parts={"cal_classifier": _classifier}),
}
