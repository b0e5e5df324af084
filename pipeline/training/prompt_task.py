"""Stage 1: identity and clothes prompts are learned against cached features of the frozen encoders, equation (16)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.losses.similarity import Similarity
from pipeline.losses.supervised_contrastive import supervised_contrastive
from pipeline.models.prompts import PromptLearner
from pipeline.models.text_encoder import TextEncoder
from pipeline.trainer.engine import Engine, TrainingRun
from pipeline.trainer.epochs import skip
from pipeline.trainer.gradients import weighted_sum
from pipeline.trainer.loop import train
from pipeline.trainer.schedule import RateAt, by_epoch, cosine_rate
from pipeline.trainer.task import Epoch, Plan
from pipeline.training.classes import NO_CLASS, Labels
from pipeline.training.settings import PromptSettings
from pipeline.transfer import Carrier


@dataclass(frozen=True)
class Distinct:
    """Different class numbers of some labels, found by the CPU, which so need not wait for a GPU to find them.

    Attributes:
        classes: The numbers, ascending, (classes,).
        positions: Where each label's is among them, (B,).
    """

    classes: Tensor
    positions: Tensor


@dataclass(frozen=True)
class PromptBatch:
    """Cached features of some images and their classes.

    Attributes:
        images: Features of the images that identity prompts are learned from, E_v(x_s) or E_v(x), (B, D).
        identities: (B,).
        clothes: E_v(x_c) of those images that have a clothes class, (B', D).
        clothes_classes: (B',).
        distinct_identities: Of ``identities``; None: found on the device.
        distinct_clothes: Of ``clothes_classes``; None: found on the device.
    """

    images: Tensor
    identities: Tensor
    clothes: Tensor
    clothes_classes: Tensor
    distinct_identities: Distinct | None = None
    distinct_clothes: Distinct | None = None


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

    splits = False

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

    def _texts(self, prompts: PromptLearner, labels: Tensor, distinct: Distinct | None) -> tuple[Tensor, Tensor]:
        """Only the classes of the batch are encoded."""
        found = distinct or Distinct(*torch.unique(labels, return_inverse=True))
        return prompts.encode(self._encoder[0], found.classes, self._text_chunk), found.positions

    def labels(self, batch: PromptBatch) -> PromptBatch:
        """The batch itself: the losses need its image features as well."""
        return batch

    def encode(self, batch: PromptBatch) -> PromptTexts:
        """The expensive part: the text encoder on the classes of a batch."""
        texts = PromptTexts(*self._texts(self.identity, batch.identities, batch.distinct_identities))
        if self.clothes is None or not len(batch.clothes):
            return texts
        clothes = self._texts(self.clothes, batch.clothes_classes, batch.distinct_clothes)
        return PromptTexts(texts.identities, texts.identity_positions, *clothes)

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
        carrier = Carrier(str(self.images.device))
        for rows in parts:
            dressed = rows[self.clothes_classes[rows] != NO_CLASS]
            arrays = {"rows": rows, "dressed": dressed}
            for name, labels in (("identities", self.identities[rows]), ("clothes", self.clothes_classes[dressed])):
                classes, positions = np.unique(labels, return_inverse=True)
                arrays |= {name: labels, f"{name}-classes": classes, f"{name}-positions": positions}
            sent = carrier.send(arrays).take()
            yield PromptBatch(
                images=self.images[sent["rows"]],
                identities=sent["identities"],
                clothes=self.clothes[sent["dressed"]],
                clothes_classes=sent["clothes"],
                distinct_identities=Distinct(sent["identities-classes"], sent["identities-positions"]),
                distinct_clothes=Distinct(sent["clothes-classes"], sent["clothes-positions"]),
            )


def train_prompts(
    task: PromptTask, data: PromptData, settings: PromptSettings, seed: int, engine: Engine | None = None
) -> TrainingRun:
    """Learn the prompts (section 3.2: 120 epochs, Adam, 3.5e-4, cosine decay, batch 64).

    Args:
        task: Prompts and losses.
        data: Cached features.
        settings: How long, in which batches and at which rates.
        seed: Of the order of images.
        engine: How steps are computed, kept and checked.

    Raises:
        WorkError: See :func:`train`.
        InputError: See :func:`train`.
    """
    return train(
        task,
        # fused: without it Adam makes copies of all prompts, which are hundreds of megabytes for 40,000 classes
        torch.optim.Adam(task.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True),
        Plan(
            what="prompts",
            epochs=settings.epochs,
            epoch_of=lambda number, start: skip(data.epoch(number, settings.batch_size, seed), start),
            rate_at=prompt_rates(settings),
            weigh=lambda _epoch, _step, losses: weighted_sum(losses, dict.fromkeys(losses, 1.0)),
        ),
        engine,
    )


def prompt_rates(settings: PromptSettings) -> RateAt:
    """The learning rate of stage 1 by epoch: a warm-up, then a cosine decay."""

    def rate_at(position: float) -> float:
        return cosine_rate(
            position,
            settings.epochs,
            settings.learning_rate,
            settings.final_learning_rate,
            settings.warmup_epochs,
            settings.warmup_learning_rate,
        )

    return by_epoch(rate_at, settings.schedule_every)
