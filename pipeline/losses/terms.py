"""What a term of stage 2 is, and what it may look at: one term is one entry of a loss file's ``TERMS``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.losses.similarity import Similarity

IdentityFeatures = Literal["all", "projected"]
Disentangle = Literal["cos2", "cos", "abs", "as-printed"]

Need = Literal["shielding", "target", "identity_texts", "clothes_texts", "clothes_classes"]
"""What a term needs beside E_v: E_v^s, features of the frozen encoder, prompts, or only the classes of clothes."""


@dataclass(frozen=True)
class EncoderFeatures:
    """Everything the losses need of the image encoders; each row depends on one image only.

    So features of parts of a batch (ranks, accumulation) can be put together before the losses are computed.

    Attributes:
        projected: f = E_v(x), (B, D).
        hidden: E_v(x) before the projection, (B, C).
        earlier: E_v(x) one block earlier, (B, C').
        shielding_projected: f^s = E_v^s(x_s), (B, D); None where the method has no E_v^s.
        shielding_hidden: As hidden, of E_v^s(x_s).
        shielding_earlier: As earlier, of E_v^s(x_s).
        target: Hidden and projected features of x_s by the frozen encoder side by side, without gradients, (B, C + D);
            None where no term needs them.
    """

    projected: Tensor
    hidden: Tensor
    earlier: Tensor
    shielding_projected: Tensor | None = None
    shielding_hidden: Tensor | None = None
    shielding_earlier: Tensor | None = None
    target: Tensor | None = None

    @property
    def raw(self) -> "StreamFeatures":
        """Features of the raw stream."""
        return StreamFeatures(self.projected, self.hidden, self.earlier)

    @property
    def shielding(self) -> "StreamFeatures":
        """Features of the shielding stream; a term that uses them has the need ``shielding``."""
        return StreamFeatures(
            present(self.shielding_projected), present(self.shielding_hidden), present(self.shielding_earlier)
        )


@dataclass(frozen=True)
class StreamFeatures:
    """Features of one stream: ``projected`` (B, D), ``hidden`` (B, C) and ``earlier`` (B, C')."""

    projected: Tensor
    hidden: Tensor
    earlier: Tensor


@dataclass(frozen=True)
class EncoderLabels:
    """The labels of a batch.

    Attributes:
        identities: Class numbers, (B,).
        clothes_classes: Class numbers, (B,); negative where an image has none.
        cameras: Camera numbers, (B,); None where they are not known.
    """

    identities: Tensor
    clothes_classes: Tensor
    cameras: Tensor | None = None


@dataclass(frozen=True)
class LossSettings:
    """The settings that terms share; see the loss that uses each.

    Attributes:
        label_smoothing: In the identity and the image-text cross-entropies.
        triplet_margin: Of L_id's triplets.
        identity_weight: Weight of each identity cross-entropy within L_id.
        identity_features: ``all``: CLIP-ReID's three features under L_id; ``projected``: the projected one only.
        similarity: s(.,.) of images and texts.
        scale: exp(logit_scale), for ``cosine``.
        disentangle: Form of L_dis.
        cal_epsilon: Share of CAL's adversarial target that all clothes of the identity have in common.
        cal_scale: Scale of CAL's cosine classifier.
    """

    label_smoothing: float = 0.1
    triplet_margin: float = 0.3
    identity_weight: float = 0.25
    identity_features: IdentityFeatures = "all"
    similarity: Similarity = "dot"
    scale: float = 1.0
    disentangle: Disentangle = "cos2"
    cal_epsilon: float = 0.1
    cal_scale: float = 16.0


@dataclass(frozen=True)
class Dimensions:
    """Sizes that the learned parts of terms are made from.

    Attributes:
        hidden: C.
        projected: D.
        identities: K.
        clothes_classes: K_c; 0 where there are none.
        settings: Of the losses.
    """

    hidden: int
    projected: int
    identities: int
    clothes_classes: int
    settings: LossSettings


@dataclass(frozen=True)
class LossInputs:
    """What a term is computed from.

    Attributes:
        features: Of the whole (global) batch.
        labels: Of the same batch.
        parts: The learned parts of the terms, by name.
        settings: Of the losses.
        identity_texts: Frozen text features of all identity prompts, (K, D).
        clothes_texts: Frozen text features of all clothes prompts, (K_c, D).
        identity_clothes: Clothes classes of each identity, filled up with -1, (K, most classes of an identity).
    """

    features: EncoderFeatures
    labels: EncoderLabels
    parts: Mapping[str, nn.Module]
    settings: LossSettings
    identity_texts: Tensor | None = None
    clothes_texts: Tensor | None = None
    identity_clothes: Tensor | None = None

    def dressed(self) -> Tensor | None:
        """Which images have a clothes class, boolean (B,); None if none of the batch has."""
        known = self.labels.clothes_classes >= 0
        return known if bool(known.any()) else None


PartBuilder = Callable[[Dimensions, torch.Generator], nn.Module]


@dataclass(frozen=True)
class Term:
    """One term of the sum of stage 2.

    Attributes:
        compute: Inputs -> a scalar; None if nothing in this batch has what the term is about.
        needs: What must be there; see :data:`Need`.
        parts: Builders of the learned parts that it uses, by name; terms share a part by its name.
        examines: It moves the learned parts only and no encoder, so that it may have optimiser steps of its own.
    """

    compute: Callable[[LossInputs], Tensor | None]
    needs: frozenset[Need] = frozenset()
    parts: Mapping[str, PartBuilder] = field(default_factory=dict)
    examines: bool = False


def present(value: Tensor | None) -> Tensor:
    """The tensor that a term's needs have promised."""
    if value is None:
        raise ValueError("a term uses what it does not name in its needs")
    return value
