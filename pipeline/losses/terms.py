"""What a term of stage 2 is, and what it may look at: one term is one entry of a loss file's ``TERMS``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from pipeline.settings import SettingsGroup

Need = Literal[
    "shielding", "target", "identity_texts", "clothes_texts", "clothes_classes", "identity_captions", "clothes_captions"
]
"""What a term needs beside E_v: E_v^s, features of the frozen encoder, prompts, only the classes of clothes, or texts
of single images."""


SettingsT = TypeVar("SettingsT", bound=SettingsGroup)


def settings_as(settings: SettingsGroup, kind: type[SettingsT]) -> SettingsT:
    """A group that is made of several as one of these.

    Raises:
        TypeError: It is not among them.
    """
    if not isinstance(settings, kind):
        raise TypeError(f"{type(settings).__name__} has no settings of the kind {kind.__name__}")
    return settings


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
        identity_caption: Features of a text about the person in each image, without gradients, (B, T); None where no
            term needs them.
        clothes_caption: As that, of a text about the clothes.
    """

    projected: Tensor
    hidden: Tensor
    earlier: Tensor
    shielding_projected: Tensor | None = None
    shielding_hidden: Tensor | None = None
    shielding_earlier: Tensor | None = None
    target: Tensor | None = None
    identity_caption: Tensor | None = None
    clothes_caption: Tensor | None = None

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
class Known:
    """What the CPU knows of the labels of a (global) batch: to ask the GPU would be to wait for it in every step.

    Attributes:
        dressed: Positions of the images that have a clothes class, ascending, (B',).
        members: Place of each image's identity among those of the batch in ascending order, (B,).
        counts: Images of each identity of the batch in that order, float32 (P,).
    """

    dressed: Tensor
    members: Tensor
    counts: Tensor


@dataclass(frozen=True)
class EncoderLabels:
    """The labels of a batch.

    Attributes:
        identities: Class numbers, (B,).
        clothes_classes: Class numbers, (B,); negative where an image has none.
        cameras: Camera numbers, (B,); None where they are not known.
        known: Of the batch that the losses see, of all ranks together; None: it is found out where it is needed.
    """

    identities: Tensor
    clothes_classes: Tensor
    cameras: Tensor | None = None
    known: Known | None = None


@dataclass(frozen=True)
class Dimensions:
    """Sizes that the learned parts of terms are made from.

    Attributes:
        hidden: C.
        projected: D.
        identities: K.
        clothes_classes: K_c; 0 where there are none.
        settings: All groups of the losses in one.
        identity_captions: T of texts about the person in each image; 0 where there are none.
        clothes_captions: T of texts about the clothes in each image; 0 where there are none.
    """

    hidden: int
    projected: int
    identities: int
    clothes_classes: int
    settings: SettingsGroup
    identity_captions: int = 0
    clothes_captions: int = 0

    def settings_as(self, kind: type[SettingsT]) -> SettingsT:
        """The settings as the group of one loss."""
        return settings_as(self.settings, kind)


@dataclass(frozen=True)
class LossInputs:
    """What a term is computed from.

    Attributes:
        features: Of the whole (global) batch.
        labels: Of the same batch.
        parts: The learned parts of the terms, by name.
        settings: All groups of the losses in one; see :meth:`settings_as`.
        scale: CLIP's exp(logit_scale), for cosine similarities.
        identity_texts: Frozen text features of all identity prompts, (K, D).
        clothes_texts: Frozen text features of all clothes prompts, (K_c, D).
        identity_clothes: Clothes classes of each identity, filled up with -1, (K, most classes of an identity).
    """

    features: EncoderFeatures
    labels: EncoderLabels
    parts: Mapping[str, nn.Module]
    settings: SettingsGroup
    scale: float = 1.0
    identity_texts: Tensor | None = None
    clothes_texts: Tensor | None = None
    identity_clothes: Tensor | None = None

    def settings_as(self, kind: type[SettingsT]) -> SettingsT:
        """The settings as the group of one loss."""
        return settings_as(self.settings, kind)

    def dressed(self) -> Tensor | None:
        """Positions of the images that have a clothes class, (B',); None if none of the batch has."""
        known = self.labels.known
        dressed = torch.nonzero(self.labels.clothes_classes >= 0)[:, 0] if known is None else known.dressed
        return dressed if len(dressed) else None


PartBuilder = Callable[[Dimensions, torch.Generator], nn.Module]


@dataclass(frozen=True)
class Term:
    """One term of the sum of stage 2.

    Attributes:
        compute: Inputs -> a scalar; None if nothing in this batch has what the term is about.
        needs: What must be there; see :data:`Need`.
        parts: Builders of the learned parts that it uses, by name; terms share a part by its name.
        weight: In the sum where a method or the user does not say; a name is the setting that holds it.
        examines: It moves the learned parts only and no encoder, so that it may have optimiser steps of its own.
    """

    compute: Callable[[LossInputs], Tensor | None]
    needs: frozenset[Need] = frozenset()
    parts: Mapping[str, PartBuilder] = field(default_factory=dict)
    weight: float | str = 1.0
    examines: bool = False


def present(value: Tensor | None) -> Tensor:
    """The tensor that a term's needs have promised."""
    if value is None:
        raise ValueError("a term uses what it does not name in its needs")
    return value
