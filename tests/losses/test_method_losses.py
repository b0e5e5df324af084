"""The losses of the other methods against loops; gradients of all losses against finite differences."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from pipeline.losses.cal import CosineClassifier, clothes_adversarial_loss, positive_clothes
from pipeline.losses.centre_alignment import centre_alignment
from pipeline.losses.clothes_uniform import clothes_uniform_loss, own_clothes_uniform_loss
from pipeline.losses.disentangle import disentangle_loss
from pipeline.losses.identity import identity_loss
from pipeline.losses.image_text import image_text_cross_entropy
from pipeline.losses.onehot_clothes import onehot_clothes_loss
from pipeline.losses.registry import TERMS, find_terms
from pipeline.losses.supervised_contrastive import supervised_contrastive
from pipeline.losses.target_alignment import target_alignment
from pipeline.losses.triplet import batch_hard_triplet


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_cal(logits: np.ndarray, classes: list[int], positives: np.ndarray, epsilon: float) -> float:
    total = 0.0
    for row, own, positive in zip(logits, classes, positives, strict=True):
        negatives = sum(math.exp(z) for z, is_own in zip(row, positive, strict=True) if not is_own)
        for c, z in enumerate(row):
            if positive[c]:
                target = (1 - epsilon) * (c == own) + epsilon / positive.sum()
                total -= target * math.log(math.exp(z) / (math.exp(z) + negatives))
    return total / len(classes)


OWNERS = np.array([0, 0, 1, 1, 1, 2])  # of the six clothes classes
IDENTITIES, CLASSES = [0, 0, 1, 2], [1, 0, 3, 5]


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_cal_tells_clothes_of_others_apart_and_not_those_of_the_person(epsilon):
    logits = features(1, 4, 6)
    positives = OWNERS[None, :] == np.array(IDENTITIES)[:, None]
    expected = naive_cal(logits.numpy(), CLASSES, positives, epsilon)
    actual = clothes_adversarial_loss(logits, torch.tensor(CLASSES), torch.from_numpy(positives), epsilon)
    assert actual.item() == pytest.approx(expected, abs=1e-12)


def test_cal_with_large_logits_and_a_person_who_owns_every_class_is_finite():
    logits = (features(2, 2, 3) * 500).requires_grad_()
    loss = clothes_adversarial_loss(logits, torch.tensor([0, 1]), torch.ones(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0.0)
    assert torch.isfinite(logits.grad).all()


def test_positive_clothes_are_those_of_the_identity():
    table = torch.tensor([[0, 1, -1], [2, 3, 4], [5, -1, -1]])
    expected = torch.from_numpy(OWNERS[None, :] == np.array(IDENTITIES)[:, None])
    assert torch.equal(positive_clothes(torch.tensor(IDENTITIES), table, 6), expected)


def test_the_cosine_classifier_can_be_held_fixed():
    classifier = CosineClassifier(5, 3, torch.Generator().manual_seed(0)).double()
    images = features(3, 4, 5).requires_grad_()
    cosines = classifier(images, fixed=True)
    for i in range(4):
        for k in range(3):
            a, b = images[i].detach().numpy(), classifier.weight[k].detach().numpy()
            assert cosines[i, k].item() == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-7)
    cosines.sum().backward()
    assert classifier.weight.grad is None
    assert images.grad.abs().sum() > 0


def naive_uniform(logits: np.ndarray) -> float:
    total = 0.0
    for row in logits:
        normaliser = sum(math.exp(z) for z in row)
        for z in row:
            total += (1 / len(row)) * math.log((1 / len(row)) / (math.exp(z) / normaliser))
    return total / len(logits)


def test_uniform_is_the_divergence_of_the_posteriors_from_uniform():
    images, texts = features(4, 5, 3), features(5, 7, 3)
    expected = naive_uniform((images @ texts.T).numpy())
    assert clothes_uniform_loss(images, texts).item() == pytest.approx(expected, abs=1e-12)
    assert clothes_uniform_loss(torch.zeros(2, 3), texts.float()).item() == pytest.approx(0.0, abs=1e-6)
    cosines = torch.nn.functional.normalize(images) @ torch.nn.functional.normalize(texts).T
    expected = naive_uniform(8.0 * cosines.numpy())
    assert clothes_uniform_loss(images, texts, "cosine", 8.0).item() == pytest.approx(expected, abs=1e-12)


def test_uniform_over_the_own_clothes_looks_at_no_others():
    images, texts = features(4, 3, 3), features(5, 6, 3)
    own = torch.tensor([[0, 1, -1], [2, 3, 4], [5, -1, -1]])
    logits = (images @ texts.T).numpy()
    parts = [naive_uniform(logits[[row]][:, columns]) for row, columns in enumerate(([0, 1], [2, 3, 4], [5]))]
    assert parts[2] == 0.0
    assert own_clothes_uniform_loss(images, texts, own).item() == pytest.approx(sum(parts) / 3, abs=1e-12)
    every = torch.arange(6).expand(3, 6)
    for similarity, scale in (("dot", 1.0), ("cosine", 8.0)):
        whole = clothes_uniform_loss(images, texts, similarity, scale)
        assert own_clothes_uniform_loss(images, texts, every, similarity, scale).item() == pytest.approx(whole.item())


def test_target_alignment_is_one_less_the_cosine_and_leaves_the_target_alone():
    raw, target = features(6, 4, 5).requires_grad_(), features(7, 4, 5).requires_grad_()
    pairs = zip(raw.detach().numpy(), target.detach().numpy(), strict=True)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
    loss = target_alignment(raw, target)
    assert loss.item() == pytest.approx(1 - sum(cosines) / 4, abs=1e-12)
    loss.backward()
    assert target.grad is None


def test_one_hot_clothes_is_cross_entropy_with_smoothing():
    logits, classes = features(8, 4, 6), [5, 0, 3, 3]
    total = 0.0
    for row, own in zip(logits.numpy(), classes, strict=True):
        normaliser = math.log(sum(math.exp(z) for z in row))
        total -= sum((0.9 * (k == own) + 0.1 / 6) * (z - normaliser) for k, z in enumerate(row))
    assert onehot_clothes_loss(logits, torch.tensor(classes)).item() == pytest.approx(total / 4, abs=1e-12)


LABELS = torch.tensor([0, 0, 1, 1])
OTHER = features(20, 5, 3)


@pytest.mark.parametrize("loss", [
    lambda f: image_text_cross_entropy(f, OTHER, LABELS),
    lambda f: image_text_cross_entropy(f, OTHER, LABELS, 0.2, "cosine", 5.0),
    lambda f: supervised_contrastive(f, OTHER[:4], LABELS, LABELS),
    lambda f: supervised_contrastive(OTHER[:4], f, LABELS, LABELS, "cosine", 5.0),
    lambda f: centre_alignment(f, OTHER[:4], LABELS),
    lambda f: batch_hard_triplet(f, LABELS),
    lambda f: identity_loss([f, 2 * f], [f], LABELS),
    *(lambda f, form=form: disentangle_loss(f, OTHER[:4], form) for form in ("cos2", "cos", "abs", "as-printed")),
    lambda f: onehot_clothes_loss(f, LABELS),
    lambda f: clothes_adversarial_loss(f, LABELS, torch.tensor([[True, True, False]] * 4)),
    lambda f: clothes_uniform_loss(f, OTHER),
    lambda f: own_clothes_uniform_loss(f, OTHER, torch.tensor([[0, 1, -1], [2, 3, 4], [2, 3, 4], [0, -1, -1]])),
    lambda f: target_alignment(f, OTHER[:4]),
])  # fmt: skip
def test_gradients_equal_finite_differences(loss):
    assert gradcheck(loss, (features(21, 4, 3).requires_grad_(),))


def test_every_term_is_found_by_its_name_in_the_order_of_the_registry():
    assert list(find_terms(reversed(list(TERMS)))) == list(TERMS)
