"""What the checks of a GPU compare: steps of training on a device beside the same steps on a CPU in float32."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch
from clips import make_clip
from torch import Tensor, nn

from pipeline.models.clip import Clip
from pipeline.models.image_encoder import use_fast_layout
from pipeline.models.prompts import CLOTHES_TEMPLATE, IDENTITY_TEMPLATE, PromptLearner
from pipeline.models.recompute import recompute_activations
from pipeline.precision import Precision
from pipeline.trainer.gradients import GradientMaker, weighted_sum
from pipeline.training.batches import EncoderBatch
from pipeline.training.captions import ABOUT
from pipeline.training.encoder_task import EncoderTask
from pipeline.training.methods import term_weights
from pipeline.training.prompt_task import PromptBatch, PromptTask
from pipeline.training.settings import AllEncoderSettings

IDENTITIES = 16
CLOTHES = 2 * IDENTITIES
PER_IDENTITY = 4
CAPTION = 3
"""Length of texts' features: few numbers, so that their cosines are not near 0, where a relative error says little."""
SCALES = 12
"""Scales that are tried in fp16, each half of the one before."""
SMALLEST_LOSS = 1e-3
"""Losses below it are compared by their difference over this number."""


class Tolerance(NamedTuple):
    """How far a step may be from the one on a CPU in float32.

    Attributes:
        loss: Relative error of each loss.
        gradient: Norm of the difference of all gradients over the norm of the gradients.
    """

    loss: float
    gradient: float


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(1e-4, 1e-3),
    "tf32": Tolerance(1e-3, 1e-2),
    "bf16": Tolerance(1e-2, 5e-2),
    "fp16": Tolerance(2e-3, 1e-2),
}
"""For ViT-B/16. On a CPU in bf16, with 8 random images, its gradients were off by 0.009 to 0.048, by method."""
SMALL_BF16 = Tolerance(1e-2, 0.25)
"""For the small network, whose patch convolution has a gradient of terms that nearly cancel: off by 0.05 to 0.17."""
ACCUMULATION = 1e-5
"""The same of a batch in parts beside the whole batch, both on the device and in float32."""
LABELS = {"fp32": 0.999, "tf32": 0.99, "bf16": 0.99, "fp16": 0.99}
"""Share of pixels whose label is that of the CPU in float32."""


class Step(NamedTuple):
    """Losses by name and gradients by parameter, on the CPU."""

    losses: dict[str, float]
    gradients: dict[str, Tensor]


def loss_error(found: Step, expected: Step) -> float:
    """Largest relative error of a loss."""
    assert found.losses.keys() == expected.losses.keys()
    return max(
        abs(value - expected.losses[name]) / max(abs(expected.losses[name]), SMALLEST_LOSS)
        for name, value in found.losses.items()
    )


def gradient_error(found: Step, expected: Step) -> float:
    """Norm of the difference of all gradients over the norm of the expected ones."""
    assert found.gradients.keys() == expected.gradients.keys()
    difference = sum(float((found.gradients[k] - g).double().square().sum()) for k, g in expected.gradients.items())
    return (difference / sum(float(g.double().square().sum()) for g in expected.gradients.values())) ** 0.5


def assert_within(found: Step, expected: Step, tolerance: Tolerance) -> None:
    """Fail, and say by how much, where a step is too far from the expected one."""
    assert expected.losses
    assert expected.gradients
    errors = Tolerance(loss_error(found, expected), gradient_error(found, expected))
    print(f"errors of losses {errors.loss:.2e}, of gradients {errors.gradient:.2e}")
    assert errors.loss <= tolerance.loss, f"loss differs by {errors.loss:.2e}, allowed are {tolerance.loss}"
    assert errors.gradient <= tolerance.gradient, (
        f"gradients differ by {errors.gradient:.2e} of their norm, allowed are {tolerance.gradient}"
    )


def settings(*values: str) -> list[str]:
    """Command-line words that set parameters."""
    return [word for value in values for word in ("--set", value)]


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 matrix products and convolutions of a GPU round their factors to TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def deterministic() -> Iterator[None]:
    """PyTorch's deterministic algorithms; an operator that has none raises."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def short_name(precision: str) -> str:
    """What the training calls it: TF32 is float32 with a switch."""
    return "fp32" if precision == "tf32" else precision


def need_cuda(device: str, precision: str) -> None:
    """Skip what only CUDA computes with."""
    if precision in ("tf32", "fp16") and torch.device(device).type != "cuda":
        pytest.skip(f"{precision} needs a CUDA device")


def reference_clip(small: bool) -> Clip:
    """Random weights: ViT-B/16 at 256x128, or the project's small CLIP."""
    if small:
        return make_clip("walker-clip", None, image_size=(64, 32))
    return make_clip("ViT-B-16-quickgelu", None, image_size=(256, 128))


def step_of(task: nn.Module, batch: object, precision: Precision, parts: int = 1) -> Step:
    """Losses and unscaled gradients of one step as the training makes them.

    In fp16 the first scales may be too large; a training leaves such steps out and halves the scale, and so does this.
    """
    for _ in range(SCALES):
        step = _scaled_step(task, batch, precision, parts)
        finite = all(bool(gradient.isfinite().all()) for gradient in step.gradients.values())
        if finite or precision.scaler is None:
            break
        precision.scaler.update(precision.scaler.get_scale() / 2)
    return step


def _scaled_step(task: nn.Module, batch: object, precision: Precision, parts: int) -> Step:
    task.zero_grad(set_to_none=True)
    maker = GradientMaker(task, precision, parts)
    losses, cached = maker.losses(batch)
    weights = task.loss_weights_at(0, 0) if isinstance(task, EncoderTask) else dict.fromkeys(losses, 1.0)
    total = weighted_sum(losses, weights)
    assert total is not None
    maker.backward(total, cached)
    scale = float(precision.scaler.get_scale()) if precision.scaler is not None else 1.0
    gradients = {
        name: parameter.grad.float().cpu() / scale
        for name, parameter in task.named_parameters()
        if parameter.grad is not None
    }
    return Step({name: float(value.detach()) for name, value in losses.items()}, gradients)


@dataclass
class Checks:
    """Steps of both stages on a device and, once each, on the CPU.

    Attributes:
        device: Torch device that is checked.
        clip: On the CPU; each task has a copy of it.
        images: Images of a batch.
        small: Whether it is the small network, and not the paper's.
    """

    device: str
    clip: Clip
    images: int
    small: bool
    _expected: dict[str, Step] = field(default_factory=dict)

    def tolerance(self, precision: str) -> Tolerance:
        """How far a step of stage 2 may be from the CPU's."""
        return SMALL_BF16 if self.small and precision == "bf16" else TOLERANCES[precision]

    def task(self, method: str, device: str, recompute: bool = False) -> EncoderTask:
        """Stage 2 of a method with random texts; equal weights for equal methods."""
        encoder = deepcopy(self.clip.image_encoder)
        generator = torch.Generator().manual_seed(1)
        hidden, projected = encoder.hidden_dim, encoder.projected_dim
        task = EncoderTask(
            encoder,
            term_weights(method, AllEncoderSettings()),
            identities=IDENTITIES,
            seed=0,
            settings=AllEncoderSettings(),
            identity_texts=0.1 * torch.randn(IDENTITIES, projected, generator=generator),
            clothes_texts=0.1 * torch.randn(CLOTHES, projected, generator=generator),
            identity_clothes=torch.arange(CLOTHES).reshape(IDENTITIES, 2),
            targets=torch.randn(self.images, hidden + projected, generator=generator),
            captions={about: torch.randn(self.images, CAPTION, generator=generator) for about in ABOUT},
        )
        for part in (task.image_encoder, task.shielding_encoder) if recompute else ():
            if part is not None:
                recompute_activations(part)
        task = task.to(device).train()
        use_fast_layout(task)
        return task

    def batch(self, device: str) -> EncoderBatch:
        """Random images: four of each identity, in its two outfits."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.images, 3, *self.clip.spec.image_size)
        raw, shielding = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
        places = torch.arange(self.images)
        identities = places // PER_IDENTITY
        return EncoderBatch(
            raw=raw,
            shielding=shielding,
            identities=identities.to(device),
            clothes_classes=(2 * identities + places % 2).to(device),
            rows=places.to(device),
            cameras=torch.zeros(self.images, dtype=torch.long, device=device),
        )

    def step(self, method: str, precision: str, parts: int = 1, recompute: bool = False) -> Step:
        """A step of stage 2 on the device."""
        with tf32(precision == "tf32"):
            numbers = Precision(short_name(precision), self.device)
            return step_of(self.task(method, self.device, recompute), self.batch(self.device), numbers, parts)

    def expected(self, method: str) -> Step:
        """The same on the CPU in float32."""
        if method not in self._expected:
            self._expected[method] = step_of(self.task(method, "cpu"), self.batch("cpu"), Precision())
        return self._expected[method]

    def prompts_step(self, device: str, precision: str) -> Step:
        """A step of stage 1 with random image features."""
        clip = deepcopy(self.clip).freeze().to(device)
        generator = torch.Generator().manual_seed(2)

        def learner(template: str, classes: int) -> PromptLearner:
            return PromptLearner(
                template, classes, 4, tokenizer=self.clip.tokenizer, encoder=self.clip.text_encoder,
                context_length=self.clip.text_encoder.context_length, generator=generator,
            )  # fmt: skip

        task = PromptTask(
            learner(IDENTITY_TEMPLATE, IDENTITIES), learner(CLOTHES_TEMPLATE, CLOTHES), clip.text_encoder,
            similarity="cosine", scale=20.0, text_chunk=5,
        )  # fmt: skip
        batch = self.batch("cpu")
        shape = (self.images, self.clip.image_encoder.projected_dim)
        images, clothes = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
        features = PromptBatch(images, batch.identities.to(device), clothes, batch.clothes_classes.to(device))
        with tf32(precision == "tf32"):
            return step_of(task.to(device).train(), features, Precision(short_name(precision), device))
