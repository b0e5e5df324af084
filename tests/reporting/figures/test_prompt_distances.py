"""Distances between prompts and images, against a plain loop."""

import numpy as np
import pytest

from pipeline.reporting.figures.prompt_distances import PromptFeatures, compare, prompt_distances, prompt_section


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def cosine(one, other) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_few_images_are_compared_with_every_prompt():
    images, texts, labels = random(7, 4), random(5, 4), np.array([0, 1, -1, 4, 4, 2, -1])
    found = compare(images, texts, labels, wanted=10_000, seed=0)
    rows = [row for row in range(7) if labels[row] >= 0]
    matched = [1 - cosine(images[row], texts[labels[row]]) for row in rows]
    others = [1 - cosine(images[row], text) for row in rows for k, text in enumerate(texts) if k != labels[row]]
    np.testing.assert_allclose(found.matched, matched, atol=1e-5)
    np.testing.assert_allclose(found.mismatched, others, atol=1e-5)
    wins = sum(1.0 if m < o else 0.0 for m in matched for o in others)
    assert found.separation.auc == pytest.approx(wins / (len(matched) * len(others)))


def test_many_are_compared_with_a_repeatable_part_and_never_with_their_own():
    texts = np.eye(40, dtype=np.float32)
    labels = np.arange(40)
    found = compare(texts, texts, labels, wanted=120, seed=1)
    assert len(found.mismatched) == 120
    assert (found.matched < 1e-6).all()
    np.testing.assert_allclose(found.mismatched, 1)  # its own prompt would be at 0
    images = random(40, 40)
    one, again, other = (compare(images, texts, labels, 120, seed).mismatched for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_one_class_or_no_labelled_image_is_nothing():
    assert compare(random(3, 4), random(1, 4), np.zeros(3, dtype=np.int64), 10, 0) is None
    assert compare(random(3, 4), random(2, 4), np.full(3, -1), 10, 0) is None


@pytest.mark.parametrize("with_clothes", [True, False])
def test_subjects_are_those_that_there_are_prompts_for(with_clothes):
    labels = np.arange(6) % 3
    prompts = PromptFeatures(random(3, 4), labels, random(6, 4) if with_clothes else None, np.arange(6))
    found = prompt_distances(prompts, random(6, 4), random(6, 4), 100, 0)
    assert list(found) == ["identity_shielding", "identity_clothes", *(["clothes_clothes"] if with_clothes else [])]
    section = prompt_section({"a": found, "b": found}, 6)
    assert len(section.plots) == len(section.files) == 2 * len(found)
    assert section.numbers["b"]["identity_clothes"]["separation"]["auc"] == found["identity_clothes"].separation.auc
