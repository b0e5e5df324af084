"""The loss against sums over single pixels."""

import math

import numpy as np
import pytest
import torch

from pipeline.labels import LIP
from pipeline.parsing.lite.targets import BAG, CLASSES, IGNORE, OUTPUTS, SOME_CLOTHES, TARGETS, WIDE_TARGETS, meaning
from pipeline.parsing.lite.training.loss import (
    RARE_LABELS,
    SMALL_TARGETS,
    clothes_cross_entropy,
    clothes_dice,
    gather_pixels,
    label_dice,
    wide_cross_entropy,
)

LOSSES = (wide_cross_entropy, clothes_cross_entropy, clothes_dice, label_dice)


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, CLASSES, 4, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, TARGETS, (2, 2, 4, 3), generator=generator)
    targets.view(-1)[:TARGETS] = torch.arange(min(TARGETS, targets.numel()))
    return logits.log_softmax(1), targets


def test_each_position_gets_the_pixels_it_covers():
    targets = torch.arange(2 * 6 * 4).view(2, 6, 4)
    gathered = gather_pixels(targets, 2)
    assert gathered.shape == (2, 4, 3, 2)
    for image, y, x in np.ndindex(2, 3, 2):
        block = targets[image, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        assert sorted(gathered[image, :, y, x].tolist()) == sorted(block.flatten().tolist())
    assert torch.equal(gather_pixels(targets, 1), targets[:, None])


@pytest.mark.parametrize("rare_weight", [1.0, 4.0])
def test_cross_entropy_of_wide_targets_agrees_with_a_loop(problem, rare_weight):
    log_probabilities, targets = problem
    probabilities = log_probabilities.exp().numpy()
    terms = []
    for image, pixel, y, x in np.ndindex(*targets.shape):
        target = int(targets[image, pixel, y, x])
        if target != IGNORE:
            labels = WIDE_TARGETS.get(target, (target,))
            weight = rare_weight if target in RARE_LABELS else 1.0
            terms.append(-weight * math.log(sum(probabilities[image, label, y, x] for label in labels)))
    assert float(wide_cross_entropy(log_probabilities, targets, rare_weight)) == pytest.approx(np.mean(terms))


@pytest.mark.parametrize("small_weight", [1.0, 3.0])
def test_cross_entropy_with_an_output_for_bags_agrees_with_a_loop(problem, small_weight):
    targets = problem[1]
    logits = torch.randn(2, OUTPUTS, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    probabilities = logits.softmax(1).numpy()
    terms = []
    for image, pixel, y, x in np.ndindex(*targets.shape):
        target = int(targets[image, pixel, y, x])
        if target != IGNORE:
            weight = small_weight if target in SMALL_TARGETS else 1.0
            terms.append(-weight * math.log(sum(probabilities[image, o, y, x] for o in meaning(target, OUTPUTS))))
    found = wide_cross_entropy(logits.log_softmax(1), targets, 1.0, small_weight)
    assert float(found) == pytest.approx(np.mean(terms))


@pytest.mark.parametrize("outputs", [CLASSES, OUTPUTS])
def test_dice_of_the_labels_agrees_with_a_loop(problem, outputs):
    targets = problem[1]
    logits = torch.randn(2, outputs, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    probabilities = logits.softmax(1).numpy()
    overlap, total, pixels = np.zeros(outputs), np.zeros(outputs), np.zeros(outputs)
    for image, pixel, y, x in np.ndindex(*targets.shape):
        target = int(targets[image, pixel, y, x])
        label = outputs - 1 if target == BAG and outputs == OUTPUTS else target
        if label < outputs and (label < CLASSES or target == BAG):
            overlap[label] += probabilities[image, label, y, x]
            total += probabilities[image, :, y, x]
            pixels[label] += 1
    dice = [2 * overlap[label] / (total[label] + pixels[label]) for label in np.flatnonzero(pixels)]
    assert float(label_dice(logits.log_softmax(1), targets)) == pytest.approx(1 - np.mean(dice))


def test_cross_entropy_of_clothes_agrees_with_a_loop(problem):
    log_probabilities, targets = problem
    probabilities = log_probabilities.exp().numpy()
    terms = []
    for image, pixel, y, x in np.ndindex(*targets.shape):
        target = int(targets[image, pixel, y, x])
        if target != IGNORE:
            clothes = sum(probabilities[image, label, y, x] for label in LIP.clothes)
            terms.append(-math.log(clothes if target in LIP.clothes or target == SOME_CLOTHES else 1 - clothes))
    assert float(clothes_cross_entropy(log_probabilities, targets)) == pytest.approx(np.mean(terms))


def test_dice_agrees_with_a_loop(problem):
    log_probabilities, targets = problem
    probabilities = log_probabilities.exp().numpy()
    overlap = total = 0.0
    for image, pixel, y, x in np.ndindex(*targets.shape):
        target = int(targets[image, pixel, y, x])
        if target == IGNORE:
            continue
        clothes = sum(probabilities[image, label, y, x] for label in LIP.clothes)
        wanted = target in LIP.clothes or target == SOME_CLOTHES
        overlap += clothes * wanted
        total += clothes + wanted
    expected = 1 - (2 * overlap + 1) / (total + 1)
    assert float(clothes_dice(log_probabilities, targets)) == pytest.approx(expected)


def test_ignored_pixels_give_no_gradient():
    logits = torch.randn(1, CLASSES, 2, 2, requires_grad=True)
    targets = torch.tensor([[[[IGNORE, 5], [IGNORE, 0]]]])
    log_probabilities = logits.log_softmax(1)
    sum(loss(log_probabilities, targets) for loss in LOSSES).backward()
    assert logits.grad is not None
    assert logits.grad[:, :, :, 0].abs().max() == 0
    assert logits.grad[:, :, :, 1].abs().max() > 0


def test_nothing_but_ignored_pixels_is_no_loss():
    logits = torch.randn(1, CLASSES, 2, 2)
    targets = torch.full((1, 4, 2, 2), IGNORE)
    for loss in LOSSES:
        assert float(loss(logits.log_softmax(1), targets)) == 0.0


def test_an_undecided_garment_is_satisfied_by_any_garment():
    targets = torch.full((1, 1, 1, 1), SOME_CLOTHES)
    for label in LIP.clothes:
        logits = torch.full((1, CLASSES, 1, 1), -20.0)
        logits[0, label] = 20.0
        for loss in LOSSES:
            assert float(loss(logits.log_softmax(1), targets)) < 1e-6
