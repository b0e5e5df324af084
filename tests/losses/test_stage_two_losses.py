"""Equations (7), (10), (14), (15) and the identity loss, each against a loop; and what each of them moves."""

import math

import numpy as np
import pytest
import torch

from pipeline.losses.centre_alignment import centre_alignment
from pipeline.losses.disentangle import disentangle_loss
from pipeline.losses.identity import identity_loss
from pipeline.losses.image_text import image_text_cross_entropy
from pipeline.losses.triplet import batch_hard_triplet


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_cross_entropy(logits: np.ndarray, labels: list[int], smoothing: float) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        log_normaliser = math.log(sum(math.exp(value) for value in row))
        for k, value in enumerate(row):
            target = (1 - smoothing) * (k == label) + smoothing / len(row)
            total -= target * (value - log_normaliser)
    return total / len(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_image_text_cross_entropy_is_over_all_classes(smoothing):
    images, texts = features(1, 5, 4), features(2, 9, 4)
    labels = [0, 8, 3, 3, 1]
    expected = naive_cross_entropy((images @ texts.T).numpy(), labels, smoothing)
    actual = image_text_cross_entropy(images, texts, torch.tensor(labels), smoothing)
    assert actual.item() == pytest.approx(expected, abs=1e-12)


def test_centre_alignment_sums_over_channels_and_averages_over_identities():
    raw, shielding = features(3, 6, 5), features(4, 6, 5)
    labels = [7, 2, 7, 2, 2, 9]
    expected = 0.0
    for identity in (2, 7, 9):
        rows = [i for i, label in enumerate(labels) if label == identity]
        difference = raw[rows].numpy().mean(axis=0) - shielding[rows].numpy().mean(axis=0)
        expected += sum(value**2 for value in difference)
    assert centre_alignment(raw, shielding, torch.tensor(labels)).item() == pytest.approx(expected / 3, abs=1e-12)


def test_centre_alignment_moves_both_sides():
    raw, shielding = features(3, 4, 5).requires_grad_(), features(4, 4, 5).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    assert torch.autograd.gradcheck(lambda a, b: centre_alignment(a, b, labels), (raw, shielding))
    centre_alignment(raw, shielding, labels).backward()
    assert raw.grad is not None
    torch.testing.assert_close(raw.grad, -shielding.grad)


def naive_triplet(values: np.ndarray, labels: list[int], margin: float) -> float:
    total = 0.0
    for i, anchor in enumerate(values):
        distances = [math.dist(anchor, other) for other in values]
        positive = max(d for j, d in enumerate(distances) if labels[j] == labels[i] and j != i)
        negative = min(d for j, d in enumerate(distances) if labels[j] != labels[i])
        total += max(0.0, margin + positive - negative)
    return total / len(values)


@pytest.mark.parametrize("seed", range(4))
def test_triplet_takes_the_hardest_pairs(seed):
    values, labels = features(seed, 8, 3), [0, 0, 1, 1, 2, 2, 2, 2]
    expected = naive_triplet(values.numpy(), labels, 0.3)
    assert batch_hard_triplet(values, torch.tensor(labels), 0.3).item() == pytest.approx(expected, abs=1e-9)


def test_triplet_of_equal_features_has_a_finite_gradient():
    values = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    loss = batch_hard_triplet(values, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert torch.isfinite(values.grad).all()


def test_identity_loss_is_the_weighted_sum_of_its_terms():
    logits, values = [features(1, 4, 3), features(2, 4, 3)], [features(3, 4, 5), features(4, 4, 6)]
    labels = [0, 0, 2, 2]
    expected = sum(0.25 * naive_cross_entropy(item.numpy(), labels, 0.1) for item in logits)
    expected += sum(naive_triplet(item.numpy(), labels, 0.3) for item in values)
    assert identity_loss(logits, values, torch.tensor(labels)).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("form", "of_cosine"),
    [("cos2", lambda c: c * c), ("cos", lambda c: c), ("abs", abs), ("as-printed", lambda c: -c)],
)
def test_disentangle_is_a_function_of_the_cosine(form, of_cosine):
    raw, clothes = features(5, 6, 4), features(6, 6, 4)
    cosines = [
        float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(raw.numpy(), clothes.numpy(), strict=True)
    ]
    expected = sum(of_cosine(value) for value in cosines) / 6
    assert disentangle_loss(raw, clothes, form).item() == pytest.approx(expected, abs=1e-12)


def test_disentangle_never_moves_the_clothes_side():
    raw, clothes = features(5, 6, 4).requires_grad_(), features(6, 6, 4).requires_grad_()
    disentangle_loss(raw, clothes).backward()
    assert clothes.grad is None
    assert raw.grad.abs().sum() > 0


def test_one_step_against_the_disentangle_loss_lowers_the_cosine():
    raw, clothes = features(7, 5, 4).requires_grad_(), features(8, 5, 4)
    cosine = torch.nn.functional.cosine_similarity(raw, clothes).abs().sum()
    disentangle_loss(raw, clothes).backward()
    moved = raw.detach() - 0.1 * raw.grad
    assert torch.nn.functional.cosine_similarity(moved, clothes).abs().sum() < cosine
