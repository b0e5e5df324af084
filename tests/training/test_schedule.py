"""The learning rate at points whose value is known."""

import itertools

import pytest

from pipeline.training.schedule import cosine_rate


def test_warm_up_is_linear_from_its_start():
    rates = [cosine_rate(position, 100, 1.0, warmup=10, warmup_start=0.1) for position in (0, 5, 10)]
    assert rates == pytest.approx([0.1, 0.55, 1.0])


def test_cosine_falls_to_the_final_rate():
    rates = [cosine_rate(position, 110, 1.0, final=0.2, warmup=10) for position in (10, 60, 110)]
    assert rates == pytest.approx([1.0, 0.6, 0.2])


def test_without_warm_up_it_starts_at_the_base():
    assert cosine_rate(0, 10, 3e-4) == pytest.approx(3e-4)


def test_never_rises_after_the_warm_up():
    rates = [cosine_rate(step / 10, 40, 5e-6, warmup=4, warmup_start=5e-7) for step in range(40, 400)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates))
