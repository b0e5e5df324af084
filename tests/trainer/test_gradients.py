"""Gradients of a batch in parts are those of the whole batch; encoders that would break this are refused."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.losses.triplet import batch_hard_triplet
from pipeline.precision import Precision
from pipeline.trainer.gradients import GradientMaker, weighted_sum


@dataclass(frozen=True)
class Batch:
    images: torch.Tensor
    labels: torch.Tensor
    other: torch.Tensor | None = None


@dataclass(frozen=True)
class Features:
    vector: torch.Tensor
    second: torch.Tensor
    absent: torch.Tensor | None = None


@dataclass(frozen=True)
class Labels:
    labels: torch.Tensor


class Task(nn.Module):
    """An encoder, a head with batch norm over the whole batch, and losses that compare images with each other."""

    splits = True

    def __init__(self, layer: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(6, 8), layer or nn.Tanh(), nn.Linear(8, 5))
        self.unused = nn.Linear(5, 5)
        self.head = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))
        self.double()

    def encode(self, batch: Batch) -> Features:
        vector = self.encoder(batch.images)
        return Features(vector, self.encoder(batch.images.flip(0)).flip(0).square())

    def labels(self, batch: Batch) -> Labels:
        return Labels(batch.labels)

    def losses(self, features: Features, labels: Labels) -> dict[str, torch.Tensor]:
        return {
            "triplet": batch_hard_triplet(features.vector, labels.labels, 0.3),
            "cross": nn.functional.cross_entropy(self.head(features.vector), labels.labels),
            "contrast": (features.vector @ features.second.T).logsumexp(dim=1).mean(),
            "other": self.unused(features.vector.detach()).square().mean(),
        }


def make_batch(count: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(count) % 3)


def gradients_of(task: Task, parts: int, weights: dict[str, float], batch: Batch | None = None):
    task.zero_grad()
    maker = GradientMaker(task, Precision(), parts)
    losses, cached = maker.losses(batch or make_batch())
    maker.backward(weighted_sum(losses, weights), cached)
    return losses, {name: parameter.grad for name, parameter in task.named_parameters()}


ALL = {"triplet": 1.0, "cross": 0.5, "contrast": 2.0, "other": 1.0}


@pytest.mark.parametrize("parts", [2, 3, 5, 12, 20])
def test_gradients_in_parts_equal_those_of_the_whole_batch(parts):
    task = Task()
    task.zero_grad()
    expected_losses = task.losses(task.encode(make_batch()), task.labels(make_batch()))
    weighted_sum(expected_losses, ALL).backward()
    expected = {name: parameter.grad.clone() for name, parameter in task.named_parameters()}
    losses, found = gradients_of(Task(), parts, ALL)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected_losses[name], rtol=0, atol=1e-12)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-12)


def test_a_mean_over_parts_would_be_another_gradient():
    task = Task()
    whole = gradients_of(task, 1, ALL)[1]["encoder.0.weight"].clone()
    halves = []
    for rows in (slice(0, 6), slice(6, 12)):
        batch = make_batch()
        half = Batch(batch.images[rows], batch.labels[rows])
        halves.append(gradients_of(task, 1, ALL, half)[1]["encoder.0.weight"].clone())
    assert (sum(halves) / 2 - whole).abs().max() > 1e-3


def test_a_loss_that_is_not_weighted_moves_nothing():
    _, found = gradients_of(Task(), 3, {"other": 1.0})
    assert {name for name, gradient in found.items() if gradient is not None} == {"unused.weight", "unused.bias"}


def test_a_sum_without_any_loss_is_none():
    assert weighted_sum({"a": torch.ones(())}, {"b": 1.0}) is None


@pytest.mark.parametrize(("layer", "reason"), [(nn.BatchNorm1d(8), "batch norm"), (nn.Dropout(0.1), "dropout")])
def test_encoders_that_do_not_treat_images_alone_are_refused(layer, reason):
    with pytest.raises(InputError, match=f"training.accumulation needs .* has {reason} in training mode"):
        gradients_of(Task(layer), 2, ALL)


def test_batch_norm_in_evaluation_mode_and_dropout_of_nothing_are_allowed():
    normalised = Task(nn.BatchNorm1d(8).double().eval())
    normalised.encoder.eval()
    for task in (normalised, Task(nn.Dropout(0.0))):
        whole = {
            name: gradient.clone() for name, gradient in gradients_of(task, 1, ALL)[1].items() if gradient is not None
        }
        parts = gradients_of(task, 2, ALL)[1]
        assert whole
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient)


def test_the_resnet_of_clip_is_refused():
    from open_clip.modified_resnet import ModifiedResNet

    task = Task()
    task.encoder = nn.Sequential(ModifiedResNet([1, 1, 1, 1], 5, 2, image_size=32, width=8))
    task.head.float()
    images = torch.randn(4, 3, 32, 32)
    with pytest.raises(InputError, match="batch norm in training mode"):
        gradients_of(task, 2, ALL, replace(make_batch(4), images=images))


def test_a_task_that_cannot_be_split_is_refused():
    task = Task()
    task.splits = False
    with pytest.raises(InputError, match="cannot be split"):
        GradientMaker(task, Precision(), parts=2)
