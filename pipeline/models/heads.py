"""Heads of stage 2: BNNeck identity classifiers and the clothes projection."""

import torch
from torch import Tensor, nn

CLASSIFIER_STD = 0.001  # CLIP-ReID's initialisation of the classifier


class BnNeckClassifier(nn.Module):
    """Batch norm without a trainable shift, then a linear classifier without bias (Luo et al. 2019).

    Args:
        channels: C of the features.
        classes: Number of identities K.
        generator: For the classifier's weights.
    """

    def __init__(self, channels: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.neck = nn.BatchNorm1d(channels)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(channels, classes, bias=False)
        with torch.no_grad():
            self.classifier.weight.normal_(0.0, CLASSIFIER_STD, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C) -> identity logits (B, K)."""
        logits: Tensor = self.classifier(self.neck(features))
        return logits


class IdentityHeads(nn.Module):
    """The classifiers of one stream: one on the projected feature and, unless ``hidden`` is None, one on the hidden."""

    def __init__(self, hidden: int | None, projected: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = None if hidden is None else BnNeckClassifier(hidden, classes, generator)
        self.projected = BnNeckClassifier(projected, classes, generator)

    def forward(self, hidden: Tensor, projected: Tensor) -> list[Tensor]:
        """Features (B, C) and (B, D) -> logits (B, K) of each classifier."""
        of_projected: Tensor = self.projected(projected)
        return [of_projected] if self.hidden is None else [self.hidden(hidden), of_projected]


class ClothesProjection(nn.Module):
    """Proj_c: the C x C matrix that takes the clothes part f^c out of a raw feature f (section 3.3).

    It starts at the identity plus small noise, so that f^c begins near f and the examine loss has a signal at once.
    """

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        noise = torch.randn(channels, channels, generator=generator) * 0.01 / channels**0.5
        self.weight = nn.Parameter(torch.eye(channels) + noise)

    def forward(self, features: Tensor) -> Tensor:
        """Features f (B, C) -> clothes features f^c (B, C)."""
        return features @ self.weight
