"""Stage 2: the raw and the shielding encoder train against frozen prompts, equation (17)."""

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

    def _identity(self, heads: IdentityHeads, features: ImageFeatures, labels: Tensor) -> Tensor:
        return identity_loss(
            heads(features.hidden, features.projected),
            [features.earlier, features.hidden, features.projected],
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

    def forward(self, batch: EncoderBatch) -> dict[str, Tensor]:
        """The seven terms of (17) by name; the weights of the sum are the loop's."""
        raw: ImageFeatures = self.image_encoder(batch.raw)
        shielding: ImageFeatures = self.shielding_encoder(batch.shielding)
        return {
            "identity": self._identity(self.raw_heads, raw, batch.identities),
            "i2t": self._image_text(raw.projected, self.identity_texts, batch.identities),
            "identity_shielding": self._identity(self.shielding_heads, shielding, batch.identities),
            "i2t_shielding": self._image_text(shielding.projected, self.identity_texts, batch.identities),
            "centre": centre_alignment(raw.projected, shielding.projected, batch.identities),
            **self._clothes_losses(raw.projected, batch.clothes_classes),
        }


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
    lambda_con: float = 0.1,
    lambda_dis: float = 1.0,
    resume: ResumeSettings | None = None,
    quiet: bool = False,
) -> list[CurveRow]:
    """Train the encoders (section 4.2: 40 epochs, Adam, 5e-6, cosine decay, lambda 0.1 and 1); returns the curves."""
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
        loss_weights={"centre": lambda_con, "disentangle": lambda_dis},
        resume=resume,
        quiet=quiet,
    )
