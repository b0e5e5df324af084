"""Equations (5), (6), (12), (13) against a loop over anchors and positives."""

import math

import numpy as np
import pytest
import torch

from pipeline.losses.similarity import similarity_logits
from pipeline.losses.supervised_contrastive import supervised_contrastive


def naive_contrastive(anchors, others, anchor_labels, other_labels):
    total = 0.0
    for i, anchor in enumerate(anchors):
        scores = [float(np.dot(anchor, other)) for other in others]
        normaliser = sum(math.exp(score) for score in scores)
        positives = [j for j in range(len(others)) if other_labels[j] == anchor_labels[i]]
        total += -sum(math.log(math.exp(scores[j]) / normaliser) for j in positives) / len(positives)
    return total / len(anchors)


def random_features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_contrastive_equals_a_loop_with_several_positives(seed):
    images, texts = random_features(seed, 7, 5), random_features(seed + 100, 7, 5)
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 3])
    expected = naive_contrastive(images.numpy(), texts.numpy(), labels.tolist(), labels.tolist())
    assert supervised_contrastive(images, texts, labels, labels).item() == pytest.approx(expected, abs=1e-12)


def test_directions_differ_and_each_has_its_own_normaliser():
    images, texts = random_features(1, 4, 3), random_features(2, 4, 3)
    labels = torch.tensor([0, 1, 2, 3])
    forward = supervised_contrastive(images, texts, labels, labels)
    backward = supervised_contrastive(texts, images, labels, labels)
    assert forward.item() != pytest.approx(backward.item())
    assert backward.item() == pytest.approx(
        naive_contrastive(texts.numpy(), images.numpy(), [0, 1, 2, 3], [0, 1, 2, 3])
    )


def test_gradient_equals_finite_differences():
    images, texts = random_features(3, 4, 3).requires_grad_(), random_features(4, 4, 3).requires_grad_()
    labels = torch.tensor([0, 0, 1, 2])
    assert torch.autograd.gradcheck(lambda a, b: supervised_contrastive(a, b, labels, labels), (images, texts))


def test_cosine_similarity_is_of_normalised_features_times_the_scale():
    images, texts = random_features(5, 3, 4), random_features(6, 2, 4)
    logits = similarity_logits(images, texts, "cosine", scale=7.0)
    for i in range(3):
        for j in range(2):
            a, b = images[i].numpy(), texts[j].numpy()
            assert logits[i, j].item() == pytest.approx(7.0 * a @ b / np.linalg.norm(a) / np.linalg.norm(b))
