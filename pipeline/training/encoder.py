"""Stage 2: the raw and the shielding encoder train against frozen prompts, equation (17)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.losses.centre_alignment import centre_alignment
from pipeline.losses.disentangle import Disentangle, disentangle_loss
from pipeline.losses.identity import identity_loss
from pipeline.losses.image_text import image_text_cross_entropy
from pipeline.losses.similarity import Similarity
from pipeline.models.heads import ClothesProjection, IdentityHeads
from pipeline.models.image_encoder import ImageEncoder, ImageFeatures
from pipeline.training.batches import EncoderBatch, EncoderData
from pipeline.training.classes import NO_CLASS
from pipeline.training.loop import CurveRow, ResumeSettings, run_epochs
from pipeline.training.schedule import cosine_rate


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
    """

    projected: Tensor
    hidden: Tensor
    earlier: Tensor
    shielding_projected: Tensor | None = None
    shielding_hidden: Tensor | None = None
    shielding_earlier: Tensor | None = None


@dataclass(frozen=True)
class EncoderLabels:
    """The labels of a batch.

    Attributes:
        identities: Class numbers, (B,).
        clothes_classes: Class numbers, (B,); ``NO_CLASS`` where an image has none.
        cameras: Camera numbers, (B,); None where they are not known.
    """

    identities: Tensor
    clothes_classes: Tensor
    cameras: Tensor | None = None


def labels_of(batch: EncoderBatch) -> EncoderLabels:
    """The labels of a batch, without its images."""
    return EncoderLabels(batch.identities, batch.clothes_classes, getattr(batch, "cameras", None))


class EncoderTask(nn.Module):
    """E_v, E_v^s, their heads and Proj_c, with the losses of stage 2.

    Args:
        raw_encoder: E_v; the only part that inference uses.
        shielding_encoder: E_v^s, another instance with the same initial weights.
        identity_texts: Frozen text features of all identity prompts, (K, D).
        clothes_texts: Frozen text features of all clothes prompts, (K_c, D); None switches CFM off.
        generator: For the heads' initial weights.
        label_smoothing: In all cross-entropies.
        triplet_margin: See :func:`identity_loss`.
        identity_weight: Weight of each identity cross-entropy.
        disentangle: Form of L_dis.
        similarity: ``dot`` or ``cosine``.
        scale: exp(logit_scale) for ``cosine``.
        lambda_con: Weight of L_con, lambda_1 of (17).
        lambda_dis: Weight of L_dis, lambda_2 of (17).
    """

    identity_texts: Tensor
    clothes_texts: Tensor | None

    def __init__(
        self,
        raw_encoder: ImageEncoder,
        shielding_encoder: ImageEncoder,
        identity_texts: Tensor,
        clothes_texts: Tensor | None,
        *,
        generator: torch.Generator,
        label_smoothing: float = 0.1,
        triplet_margin: float = 0.3,
        identity_weight: float = 0.25,
        disentangle: Disentangle = "cos2",
        similarity: Similarity = "dot",
        scale: float = 1.0,
        lambda_con: float = 0.1,
        lambda_dis: float = 1.0,
    ) -> None:
        super().__init__()
        self.image_encoder = raw_encoder
        self.shielding_encoder = shielding_encoder
        classes = len(identity_texts)
        hidden, projected = raw_encoder.hidden_dim, raw_encoder.projected_dim
        self.raw_heads = IdentityHeads(hidden, projected, classes, generator)
        self.shielding_heads = IdentityHeads(hidden, projected, classes, generator)
        self.clothes_projection = ClothesProjection(projected, generator) if clothes_texts is not None else None
        self.register_buffer("identity_texts", identity_texts, persistent=False)
        self.register_buffer("clothes_texts", clothes_texts, persistent=False)
        self._label_smoothing = label_smoothing
        self._triplet_margin = triplet_margin
        self._identity_weight = identity_weight
        self._disentangle: Disentangle = disentangle
        self._similarity: Similarity = similarity
        self._scale = scale
        self._loss_weights = dict.fromkeys(("identity", "i2t", "identity_shielding", "i2t_shielding"), 1.0)
        self._loss_weights["centre"] = lambda_con
        if clothes_texts is not None:
            self._loss_weights |= {"i2t_clothes": 1.0, "disentangle": lambda_dis}

    def _identity(
        self, heads: IdentityHeads, projected: Tensor, hidden: Tensor, earlier: Tensor, labels: Tensor
    ) -> Tensor:
        return identity_loss(
            heads(hidden, projected),
            [earlier, hidden, projected],
            labels,
            self._identity_weight,
            self._label_smoothing,
            self._triplet_margin,
        )

    def _image_text(self, features: Tensor, texts: Tensor, labels: Tensor) -> Tensor:
        return image_text_cross_entropy(features, texts, labels, self._label_smoothing, self._similarity, self._scale)

    def _clothes_losses(self, features: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """CFM, (14) and (15): examine moves Proj_c only, disentangle moves E_v only."""
        dressed = classes != NO_CLASS
        if self.clothes_projection is None or self.clothes_texts is None or not bool(dressed.any()):
            return {}
        features = features[dressed]
        clothes = self.clothes_projection(features.detach())
        return {
            "i2t_clothes": self._image_text(clothes, self.clothes_texts, classes[dressed]),
            "disentangle": disentangle_loss(features, clothes, self._disentangle),
        }

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Weight of each term in the sum (17), by name; terms that are not named here are not a part of the sum."""
        return self._loss_weights

    def loss_weights_at(self, step: int) -> Mapping[str, float]:
        """Weights of the terms that enter the sum at an optimiser step, counted from 0 over the whole run.

        Parameters that only absent terms move must get no gradient at that step (None, not zero), so that neither
        momentum nor weight decay moves them.
        """
        return self._loss_weights

    def encode(self, batch: EncoderBatch) -> EncoderFeatures:
        """The expensive part: all image encoders on a batch, or on a part of one."""
        raw: ImageFeatures = self.image_encoder(batch.raw)
        shielding: ImageFeatures = self.shielding_encoder(batch.shielding)
        return EncoderFeatures(*raw, *shielding)

    def losses(self, features: EncoderFeatures, labels: EncoderLabels) -> dict[str, Tensor]:
        """The seven terms of (17) by name, over the whole (global) batch that the features are of.

        Heads with batch norm, Proj_c, triplet mining and identity centres are here: everything that looks at more than
        one image or has few parameters.
        """
        shielding = features.shielding_projected
        assert shielding is not None
        assert features.shielding_hidden is not None
        assert features.shielding_earlier is not None
        raw_parts = features.projected, features.hidden, features.earlier
        shielding_parts = shielding, features.shielding_hidden, features.shielding_earlier
        identities = labels.identities
        return {
            "identity": self._identity(self.raw_heads, *raw_parts, identities),
            "i2t": self._image_text(features.projected, self.identity_texts, identities),
            "identity_shielding": self._identity(self.shielding_heads, *shielding_parts, identities),
            "i2t_shielding": self._image_text(shielding, self.identity_texts, identities),
            "centre": centre_alignment(features.projected, shielding, identities),
            **self._clothes_losses(features.projected, labels.clothes_classes),
        }

    def forward(self, batch: EncoderBatch) -> dict[str, Tensor]:
        """The terms of (17) by name; the sum is the loop's."""
        return self.losses(self.encode(batch), labels_of(batch))


def make_optimizer(
    task: EncoderTask, learning_rate: float, weight_decay: float, head_factor: float = 1.0
) -> torch.optim.Adam:
    """Adam as in CLIP-ReID: biases at twice the rate; heads and Proj_c at ``head_factor`` times it."""
    groups = []
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            factor = 2.0 if name.endswith("bias") else 1.0
            if not name.startswith(("image_encoder.", "shielding_encoder.")):
                factor *= head_factor
            groups.append({"params": [parameter], "rate_factor": factor})
    return torch.optim.Adam(groups, lr=learning_rate, weight_decay=weight_decay)


def train_encoder(
    task: EncoderTask,
    data: EncoderData,
    *,
    epochs: int = 40,
    learning_rate: float = 5e-6,
    head_factor: float = 1.0,
    weight_decay: float = 1e-4,
    warmup_fraction: float = 0.1,
    resume: ResumeSettings | None = None,
    quiet: bool = False,
) -> list[CurveRow]:
    """Train the encoders (section 4.2: 40 epochs, Adam, 5e-6, cosine decay); returns the curves."""
    task.train()
    return run_epochs(
        task,
        make_optimizer(task, learning_rate, weight_decay, head_factor),
        epochs,
        data.epoch,
        lambda position: cosine_rate(
            position, epochs, learning_rate, warmup=warmup_fraction * epochs, warmup_start=0.1 * learning_rate
        ),
        what="encoder",
        loss_weights=task.loss_weights,
        resume=resume,
        quiet=quiet,
    )
