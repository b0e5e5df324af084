"""Training of the embedded parser: AdamW with one cycle of the learning rate, and averaged weights."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.parsing.lite.backend import normalise
from pipeline.parsing.lite.network import STRIDE, LiteNetwork
from pipeline.parsing.lite.training.batches import Batch, BatchMaker
from pipeline.parsing.lite.training.loss import (
    clothes_cross_entropy,
    clothes_dice,
    gather_pixels,
    label_dice,
    wide_cross_entropy,
)
from pipeline.trainer.curves import CurveRow
from pipeline.trainer.epochs import run_epochs
from pipeline.trainer.states import ResumeSettings
from pipeline.trainer.task import Epoch

Precision = Literal["float32", "bfloat16"]
EpochReport = Callable[[int, LiteNetwork], None]

WARMUP_SHARE = 0.1
FIRST_RATE = 0.1
LAST_RATE = 0.001
GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        epochs: Passes over the photographs.
        learning_rate: Peak of the cycle, reached after a tenth of the epochs.
        encoder_rate: The encoder's learning rate as a multiple of the decoder's: weights that know something already
            should not be torn away from it.
        weight_decay: Of convolution weights; batch norms and biases have none.
        clothes_weight: Weight of the cross-entropy of clothes against all else, beside that of the labels.
        rare_weight: Weight of rare labels' pixels in the cross-entropy of the labels.
        small_weight: Weight of the pixels of hair, shoes and bags there.
        dice_weight: Weight of the clothes mask's Dice loss.
        label_dice_weight: Weight of the labels' mean Dice loss.
        small_share: Share of the epochs, the first ones, run at three quarters of the size and half the cost.
        mild_share: Share of the epochs, the last ones, with every change of the photographs half as probable.
        average_epochs: Time constant of the weights' running mean, in epochs.
        precision: Which is faster depends on the processor; try both.
    """

    epochs: int
    learning_rate: float = 2e-3
    encoder_rate: float = 0.5
    weight_decay: float = 0.05
    clothes_weight: float = 0.5
    rare_weight: float = 4.0
    small_weight: float = 1.0
    dice_weight: float = 1.0
    label_dice_weight: float = 0.0
    small_share: float = 0.7
    mild_share: float = 0.15
    average_epochs: float = 4.0
    precision: Precision = "float32"

    def rate_at(self, epoch: float) -> float:
        """Learning rate: linear to the peak, then half a cosine down to a thousandth of it."""
        position = min(epoch / self.epochs, 1.0)
        if position < WARMUP_SHARE:
            return self.learning_rate * (FIRST_RATE + (1 - FIRST_RATE) * position / WARMUP_SHARE)
        fall = 0.5 * (1 + math.cos(math.pi * (position - WARMUP_SHARE) / (1 - WARMUP_SHARE)))
        return self.learning_rate * (LAST_RATE + (1 - LAST_RATE) * fall)

    def size_in(self, epoch: int, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the images in an epoch (from 0)."""
        if epoch >= round(self.small_share * self.epochs):
            return size
        height, width = (STRIDE * max(1, round(side * 3 / 4 / STRIDE)) for side in size)
        return height, width

    def strength_in(self, epoch: int) -> float:
        """Factor of the augmentation's probabilities in an epoch (from 0)."""
        return 0.5 if epoch >= self.epochs - round(self.mild_share * self.epochs) else 1.0


@dataclass(frozen=True)
class LiteScores:
    """What the network says of a batch: logits (batch, labels, height, width)."""

    logits: Tensor


class LiteTask(nn.Module):
    """The network, its running mean, and the losses of a batch."""

    seen: Tensor

    splits = False

    def __init__(
        self,
        network: LiteNetwork,
        precision: Precision,
        rare_weight: float = 1.0,
        small_weight: float = 1.0,
        label_dice: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._half = precision == "bfloat16"
        self._weights = rare_weight, small_weight
        self._label_dice = label_dice

    def labels(self, batch: Batch) -> Batch:
        """The batch itself, which has the targets."""
        return batch

    def encode(self, batch: Batch) -> LiteScores:
        """The network on images uint8 (batch, height, width, 3)."""
        images = batch[0].to(self.seen.device)
        self.network.train()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._half):
            return LiteScores(self.network(normalise(images)))

    def losses(self, scores: LiteScores, batch: Batch) -> dict[str, Tensor]:
        """Losses by name against targets uint8 (batch, height, width)."""
        targets = batch[1].to(self.seen.device)
        log_probabilities = scores.logits.float().log_softmax(1)
        labels = gather_pixels(targets, targets.shape[2] // scores.logits.shape[3]).long()
        losses = {
            "cross_entropy": wide_cross_entropy(log_probabilities, labels, *self._weights),
            "clothes": clothes_cross_entropy(log_probabilities, labels),
            "dice": clothes_dice(log_probabilities, labels),
        }
        if self._label_dice:
            losses["label_dice"] = label_dice(log_probabilities, labels)
        return losses

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses by name; their sum is the loop's."""
        return self.losses(self.encode(batch), batch)

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Move the running mean towards the network; quickly at first, as fresh weights are not worth remembering."""
        self.seen += 1
        step = int(self.seen)
        share = 1.0 - min(decay, step / (step + 10))
        current = self.network.state_dict()
        for name, value in self.averaged.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], share)


def train_lite(
    network: LiteNetwork,
    batches: BatchMaker,
    schedule: Schedule,
    size: tuple[int, int],
    *,
    device: str = "cpu",
    report: EpochReport | None = None,
    resume: ResumeSettings | None = None,
    quiet: bool = False,
) -> tuple[LiteNetwork, list[CurveRow]]:
    """Train ``network`` and return its averaged weights, in evaluation mode, and the curves.

    Args:
        network: Fresh, or trained already.
        batches: What it learns from.
        schedule: How long and how fast.
        size: Height and width of the network's input.
        device: Torch device string.
        report: Called at the end of each epoch but the last with its number (from 1) and the averaged network.
        resume: Keep the state, and go on from it.
        quiet: No progress line.

    Raises:
        WorkError: The loss is not finite.
    """
    by_label = schedule.label_dice_weight > 0
    task = LiteTask(network, schedule.precision, schedule.rare_weight, schedule.small_weight, by_label)
    task = task.to(memory_format=torch.channels_last).to(device)
    optimizer = torch.optim.AdamW(parameter_groups(task.network, schedule), lr=schedule.learning_rate)
    decay = math.exp(-1.0 / (schedule.average_epochs * batches.steps))

    def before_step(*_: Any) -> None:
        nn.utils.clip_grad_norm_(task.network.parameters(), GRADIENT_NORM)

    def after_step(*_: Any) -> None:
        task.average(decay)

    def epoch_of(number: int) -> Epoch[Batch]:
        if report is not None and number > 0:
            report(number, task.averaged)
        return Epoch(batches.steps, batches.epoch(number, schedule.size_in(number, size), schedule.strength_in(number)))

    optimizer.register_step_pre_hook(before_step)
    optimizer.register_step_post_hook(after_step)
    curves = run_epochs(
        task,
        optimizer,
        schedule.epochs,
        epoch_of,
        schedule.rate_at,
        what="train-parser",
        loss_weights={
            "clothes": schedule.clothes_weight,
            "dice": schedule.dice_weight,
            "label_dice": schedule.label_dice_weight,
        },
        resume=resume,
        quiet=quiet,
    )
    return task.averaged, curves


def parameter_groups(network: LiteNetwork, schedule: Schedule) -> list[dict[str, Any]]:
    """Every parameter of the network once, in groups by learning rate and weight decay."""
    groups = []
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    for of_encoder, factor in ((True, schedule.encoder_rate), (False, 1.0)):
        mine = [parameter for parameter in network.parameters() if (id(parameter) in encoder) == of_encoder]
        for decay, chosen in (
            (schedule.weight_decay, [parameter for parameter in mine if parameter.ndim > 1]),
            (0.0, [parameter for parameter in mine if parameter.ndim <= 1]),
        ):
            groups.append({"params": chosen, "weight_decay": decay, "rate_factor": factor})
    return groups
