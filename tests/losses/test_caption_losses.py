"""Texts of single images: the losses against loops, their gradients, and the adversary's two halves."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from pipeline.losses.captions import (
    TERMS,
    CaptionProjection,
    caption_alignment,
    caption_examination,
    caption_orthogonality,
)
from pipeline.losses.terms import EncoderFeatures, EncoderLabels, LossInputs
from pipeline.training.settings import AllEncoderSettings


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(one, other) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


IMAGES, TEXTS, IDENTITIES = features(1, 5, 3), features(2, 5, 3), [0, 1, 0, 2, 1]


def test_alignment_against_a_loop():
    total = 0.0
    for image, own in zip(IMAGES.tolist(), IDENTITIES, strict=True):
        terms = [math.exp(7.0 * cosine(image, text)) for text in TEXTS.tolist()]
        right = [term for term, identity in zip(terms, IDENTITIES, strict=True) if identity == own]
        total -= sum(math.log(term / sum(terms)) for term in right) / len(right)
    found = caption_alignment(IMAGES, TEXTS, torch.tensor(IDENTITIES), 7.0)
    assert found.item() == pytest.approx(total / 5, abs=1e-12)


def test_examination_and_orthogonality_against_a_loop():
    cosines = [cosine(image, text) for image, text in zip(IMAGES.tolist(), TEXTS.tolist(), strict=True)]
    assert caption_examination(IMAGES, TEXTS).item() == pytest.approx(sum(1 - c for c in cosines) / 5, abs=1e-12)
    assert caption_orthogonality(IMAGES, TEXTS).item() == pytest.approx(sum(c * c for c in cosines) / 5, abs=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        lambda f: caption_alignment(f, TEXTS, torch.tensor(IDENTITIES), 3.0),
        lambda f: caption_examination(f, TEXTS),
        lambda f: caption_orthogonality(f, TEXTS),
    ],
)
def test_gradients_equal_finite_differences_and_texts_get_none(loss):
    assert gradcheck(loss, (features(3, 5, 3).requires_grad_(),))
    texts = TEXTS.clone().requires_grad_()
    caption_alignment(IMAGES.requires_grad_(), texts, torch.tensor(IDENTITIES), 3.0).backward()
    caption_orthogonality(IMAGES, texts).backward()
    assert texts.grad is None


def test_who_examines_moves_the_projection_and_what_turns_away_the_feature():
    projection = CaptionProjection(4, 3, torch.Generator().manual_seed(0))
    projected = features(4, 5, 4).float().requires_grad_()
    inputs = LossInputs(
        EncoderFeatures(projected, projected, projected, clothes_caption=TEXTS.float()),
        EncoderLabels(torch.tensor(IDENTITIES), torch.full((5,), -1)),
        {"clothes_caption_projection": projection},
        AllEncoderSettings(),
    )
    TERMS["caption_examine"].compute(inputs).backward()
    assert projected.grad is None
    assert projection.weight.grad.abs().sum() > 0
    projection.weight.grad = None
    TERMS["caption_orthogonal"].compute(inputs).backward()
    assert projected.grad.abs().sum() > 0
    assert projection.weight.grad is None


def test_steps_against_the_projection_take_the_text_out_of_the_feature():
    """Found by the projection at first, the text is not in features that were moved a while."""
    projection = CaptionProjection(6, 3, torch.Generator().manual_seed(0))
    moved = features(5, 5, 6).float().requires_grad_()
    texts = TEXTS.float()
    before = caption_orthogonality(projection(moved), texts).item()
    optimizer = torch.optim.SGD([moved], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        caption_orthogonality(moved @ projection.weight.detach(), texts).backward()
        optimizer.step()
    assert before > 0.1
    assert caption_orthogonality(projection(moved), texts).item() < 0.01 * before
