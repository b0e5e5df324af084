"""The learning rate at points whose value is known."""

import itertools
import math
from pathlib import Path

import pytest

from pipeline.config import load_parameters
from pipeline.trainer.schedule import by_epoch, cosine_rate, step_rate
from pipeline.training.encoder_task import encoder_rates
from pipeline.training.settings import ScheduleSettings


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


def test_the_preset_clip_reid_has_the_rates_of_clip_reid():
    """Its second stage: 60 epochs, a tenth at 30 and 50, ten epochs of warm-up from a tenth; epochs count from 1."""

    def published(epoch: int) -> float:
        factor = 0.1 * (1 - epoch / 10) + epoch / 10 if epoch < 10 else 1.0
        return 5e-6 * factor * 0.1 ** sum(epoch >= milestone for milestone in (30, 50))

    preset = load_parameters(Path("preset:clip-reid")).encoder
    rates = encoder_rates(preset)
    for number in range(60):
        for within in (0.0, 0.4, 0.99):
            assert rates(number + within) == pytest.approx(published(number + 1))


def test_by_step_the_rate_is_read_within_an_epoch_too():
    def rate(position: float) -> float:
        return step_rate(position, (30, 50), 5e-6, warmup=10, warmup_start=5e-7)

    assert by_epoch(rate, "step")(4.5) == pytest.approx(5e-7 + 0.45 * 4.5e-6)


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_by_epoch_a_cosine_leaves_the_last_epoch_a_rate(epochs):
    """The formula itself: the n-th of N epochs after the warm-up is n - w of N + 1 - w through the cosine."""
    rates = encoder_rates(ScheduleSettings(epochs=epochs, schedule_every="epoch", warmup_fraction=0.0))
    expected = [5e-6 * (1 + math.cos(math.pi * n / (epochs + 1))) / 2 for n in range(1, epochs + 1)]
    assert [rates(n + 0.5) for n in range(epochs)] == pytest.approx(expected)
    assert expected[-1] > 0


def test_milestones_ascend():
    with pytest.raises(ValueError, match="milestones must ascend"):
        ScheduleSettings(milestones=(50, 30))


def test_a_step_rate_falls_at_its_milestones():
    rates = [step_rate(position, (2, 4), 1.0, factor=0.5) for position in range(6)]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
