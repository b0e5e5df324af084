"""Stage 1: identity and clothes prompts are learned against cached features of the frozen encoders, equation (16)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.losses.similarity import Similarity
from pipeline.losses.supervised_contrastive import supervised_contrastive
from pipeline.models.prompts import PromptLearner
from pipeline.models.text_encoder import TextEncoder
from pipeline.training.checkpoints import ResumeSettings
from pipeline.training.classes import NO_CLASS, Labels
from pipeline.training.engine import Engine, Epoch, TrainingRun
from pipeline.training.gradients import weighted_sum
from pipeline.training.schedule import Every, by_epoch, cosine_rate
from pipeline.training.trainer import train


@dataclass(frozen=True)
class PromptBatch:
    """Cached features of some images and their classes.

    Attributes:
        images: Features of the images that identity prompts are learned from, E_v(x_s) or E_v(x), (B, D).
        identities: (B,).
        clothes: E_v(x_c) of those images that have a clothes class, (B', D).
        clothes_classes: (B',).
    """

    images: Tensor
    identities: Tensor
    clothes: Tensor
    clothes_classes: Tensor


@dataclass(frozen=True)
class PromptTexts:
    """Text features of the classes of a batch, each class once.

    Attributes:
        identities: (classes, D).
        identity_positions: Row of ``identities`` that belongs to each image, (B,).
        clothes: (clothes classes, D); None where no clothes prompts are learned or no image has a clothes class.
        clothes_positions: Row of ``clothes`` that belongs to each image with a clothes class, (B',).
    """

    identities: Tensor
    identity_positions: Tensor
    clothes: Tensor | None = None
    clothes_positions: Tensor | None = None


class PromptTask(nn.Module):
    """The prompts and the losses of stage 1; the frozen text encoder is used but is not a part.

    Args:
        identity_prompts: K prompts.
        clothes_prompts: K_c prompts; None learns identity prompts only.
        text_encoder: E_t; its parameters must not require gradients.
        similarity: ``dot`` or ``cosine``.
        scale: exp(logit_scale) for ``cosine``.
        text_chunk: Classes whose texts are computed at once, see :meth:`PromptLearner.encode`.
    """

    def __init__(
        self,
        identity_prompts: PromptLearner,
        clothes_prompts: PromptLearner | None,
        text_encoder: TextEncoder,
        similarity: Similarity = "dot",
        scale: float = 1.0,
        text_chunk: int = 256,
    ) -> None:
        super().__init__()
        self.identity = identity_prompts
        self.clothes = clothes_prompts
        self._encoder = [text_encoder]  # in a list: the frozen encoder is no part of this module's state
        self._similarity: Similarity = similarity
        self._scale = scale
        self._text_chunk = text_chunk

    def _texts(self, prompts: PromptLearner, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Only the classes of the batch are encoded."""
        classes, positions = torch.unique(labels, return_inverse=True)
        return prompts.encode(self._encoder[0], classes, self._text_chunk), positions

    def encode(self, batch: PromptBatch) -> PromptTexts:
        """The expensive part: the text encoder on the classes of a batch."""
        texts = PromptTexts(*self._texts(self.identity, batch.identities))
        if self.clothes is None or not len(batch.clothes):
            return texts
        return PromptTexts(
            texts.identities, texts.identity_positions, *self._texts(self.clothes, batch.clothes_classes)
        )

    def _both_directions(self, images: Tensor, texts: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Each image (B, D) has its own text (B, D) beside it, as CLIP-ReID pairs them."""
        return (
            supervised_contrastive(images, texts, labels, labels, self._similarity, self._scale),
            supervised_contrastive(texts, images, labels, labels, self._similarity, self._scale),
        )

    def losses(self, texts: PromptTexts, batch: PromptBatch) -> dict[str, Tensor]:
        """Losses (5), (6) for identities and (12), (13) for clothes, by name."""
        pair = self._both_directions(batch.images, texts.identities[texts.identity_positions], batch.identities)
        losses = dict(zip(("i2t", "t2i"), pair, strict=True))
        if texts.clothes is not None and texts.clothes_positions is not None:
            pair = self._both_directions(batch.clothes, texts.clothes[texts.clothes_positions], batch.clothes_classes)
            losses |= zip(("i2t_clothes", "t2i_clothes"), pair, strict=True)
        return losses

    def forward(self, batch: PromptBatch) -> dict[str, Tensor]:
        """The losses by name; their sum is the loop's."""
        return self.losses(self.encode(batch), batch)


@dataclass(frozen=True)
class PromptData:
    """Everything stage 1 reads: features of the training images, computed once.

    Attributes:
        images: Features of the images that identity prompts are learned from, (N, D).
        clothes: Features of the clothes images, (N, D); rows of images without a clothes class are not used.
        identities: Class numbers, (N,).
        clothes_classes: Class numbers, (N,), ``NO_CLASS`` where there is none.
    """

    images: Tensor
    clothes: Tensor
    identities: Labels
    clothes_classes: Labels

    def epoch(self, number: int, batch_size: int, seed: int) -> Epoch[PromptBatch]:
        """Batches by a random permutation of all images; the last one may be smaller, none is dropped or doubled."""
        order = np.random.default_rng([seed, number]).permutation(len(self.identities))
        parts = np.array_split(order, range(batch_size, len(order), batch_size))
        return Epoch(len(parts), self._batches(parts))

    def _batches(self, parts: list[Labels]) -> Iterator[PromptBatch]:
        device = self.images.device
        for rows in parts:
            dressed = rows[self.clothes_classes[rows] != NO_CLASS]
            yield PromptBatch(
                images=self.images[torch.from_numpy(rows).to(device)],
                identities=torch.from_numpy(self.identities[rows]).to(device),
                clothes=self.clothes[torch.from_numpy(dressed).to(device)],
                clothes_classes=torch.from_numpy(self.clothes_classes[dressed]).to(device),
            )


def train_prompts(
    task: PromptTask,
    data: PromptData,
    *,
    epochs: int = 120,
    batch_size: int = 64,
    learning_rate: float = 3.5e-4,
    weight_decay: float = 1e-4,
    schedule_every: Every = "step",
    warmup_epochs: float = 5,
    warmup_learning_rate: float = 1e-5,
    final_learning_rate: float = 1e-6,
    seed: int = 0,
    engine: Engine | None = None,
    resume: ResumeSettings | None = None,
    quiet: bool = False,
) -> TrainingRun:
    """Learn the prompts (section 3.2: 120 epochs, Adam, 3.5e-4, cosine decay, batch 64).

    Args:
        task: Prompts and losses.
        data: Cached features.
        epochs: Passes over the features.
        batch_size: Images a step.
        learning_rate: Of Adam, after the warm-up.
        weight_decay: Of Adam.
        schedule_every: See :func:`by_epoch`.
        warmup_epochs: Length of the linear warm-up.
        warmup_learning_rate: Where it starts.
        final_learning_rate: Where the cosine decay ends.
        seed: Of the order of images.
        engine: How steps are computed.
        resume: Keep the state, and go on from it.
        quiet: No progress line.

    Raises:
        WorkError: See :func:`train`.
        InputError: See :func:`train`.
    """

    def rate_at(position: float) -> float:
        return cosine_rate(position, epochs, learning_rate, final_learning_rate, warmup_epochs, warmup_learning_rate)

    def from_step(number: int, start: int) -> Epoch[PromptBatch]:
        epoch = data.epoch(number, batch_size, seed)
        return Epoch(epoch.steps, islice(epoch.batches, start, None))

    return train(
        task,
        # fused: without it Adam makes copies of all prompts, which are hundreds of megabytes for 40,000 classes
        torch.optim.Adam(task.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True),
        epochs,
        from_step,
        by_epoch(rate_at, schedule_every),
        what="prompts",
        weigh=lambda _epoch, _step, losses: weighted_sum(losses, dict.fromkeys(losses, 1.0)),
        engine=engine,
        resume=resume,
        quiet=quiet,
    )
