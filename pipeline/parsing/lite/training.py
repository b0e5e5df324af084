"""Training of the embedded parser: AdamW with one cycle of the learning rate, and averaged weights."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pipeline.parsing.lite.backend import normalise
from pipeline.parsing.lite.batches import Batch, BatchMaker
from pipeline.parsing.lite.loss import clothes_dice, wide_cross_entropy
from pipeline.parsing.lite.network import STRIDE, LiteNetwork
from pipeline.training.loop import CurveRow, Epoch, ResumeSettings, run_epochs

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
        weight_decay: Of convolution weights; batch norms and biases have none.
        dice_weight: Weight of the clothes mask's Dice loss beside the cross-entropy.
        small_share: Share of the epochs, the first ones, run at two thirds of the size and less than half the cost.
        average_epochs: Time constant of the weights' running mean, in epochs.
        precision: bfloat16 is about twice as fast on processors that have it.
    """

    epochs: int
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dice_weight: float = 1.0
    small_share: float = 0.5
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
        height, width = (STRIDE * max(1, round(side * 2 / 3 / STRIDE)) for side in size)
        return height, width


class LiteTask(nn.Module):
    """The network, its running mean, and the losses of a batch."""

    seen: Tensor

    def __init__(self, network: LiteNetwork, precision: Precision) -> None:
        super().__init__()
        self.network = network
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._half = precision == "bfloat16"

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses by name of images uint8 (batch, height, width, 3) and targets uint8 (batch, height, width)."""
        images, targets = (part.to(self.seen.device) for part in batch)
        self.network.train()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._half):
            logits = self.network(normalise(images))
        logits = interpolate(logits.float(), scale_factor=2.0, mode="bilinear", align_corners=False)
        log_probabilities = logits.log_softmax(1)
        labels = targets.long()
        return {
            "cross_entropy": wide_cross_entropy(log_probabilities, labels),
            "dice": clothes_dice(log_probabilities, labels),
        }

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
    task = LiteTask(network, schedule.precision).to(memory_format=torch.channels_last).to(device)
    optimizer = torch.optim.AdamW(_groups(task.network, schedule.weight_decay), lr=schedule.learning_rate)
    decay = math.exp(-1.0 / (schedule.average_epochs * batches.steps))

    def before_step(*_: Any) -> None:
        nn.utils.clip_grad_norm_(task.network.parameters(), GRADIENT_NORM)

    def after_step(*_: Any) -> None:
        task.average(decay)

    def epoch_of(number: int) -> Epoch[Batch]:
        if report is not None and number > 0:
            report(number, task.averaged)
        return Epoch(batches.steps, batches.epoch(number, schedule.size_in(number, size)))

    optimizer.register_step_pre_hook(before_step)
    optimizer.register_step_post_hook(after_step)
    curves = run_epochs(
        task,
        optimizer,
        schedule.epochs,
        epoch_of,
        schedule.rate_at,
        what="train-parser",
        loss_weights={"dice": schedule.dice_weight},
        resume=resume,
        quiet=quiet,
    )
    return task.averaged, curves


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    rest = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
