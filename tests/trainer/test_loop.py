"""The training loop: what it counts, when it stops, what it saves, and that it goes on as if nothing had happened."""

import math
from dataclasses import dataclass, replace
from itertools import islice

import pytest
import torch
from torch import nn

from pipeline.errors import InputError, WorkError
from pipeline.files import read_json
from pipeline.precision import Precision
from pipeline.trainer import loop as trainer
from pipeline.trainer.curves import curves_as_csv, loss_note
from pipeline.trainer.engine import Engine, Validation
from pipeline.trainer.epochs import run_epochs
from pipeline.trainer.loop import train
from pipeline.trainer.states import ResumeSettings
from pipeline.trainer.task import Epoch, Plan

STEPS = 5


@dataclass(frozen=True)
class Heights:
    values: torch.Tensor


class Regression(nn.Module):
    """A line through points, with dropout, so that torch's own random numbers matter."""

    splits = False

    def __init__(self, poisoned: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)
        self.drop = nn.Dropout(0.3)
        self.seen: list[float] = []
        self._poisoned = poisoned

    def labels(self, batch: torch.Tensor) -> torch.Tensor:
        return batch

    def encode(self, batch: torch.Tensor) -> Heights:
        self.seen.append(float(batch[0, 0]))
        return Heights(self.layer(self.drop(batch)))

    def losses(self, heights: Heights, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        number = float(batch[0, 0])
        error = (heights.values - 1.0).square().mean()
        if number == self._poisoned:
            error = error * math.nan
        losses = {"error": error, "size": self.layer.weight.abs().sum()}
        return losses if number % 2 else {"error": error}


def epoch_of(number: int, start: int = 0) -> Epoch[torch.Tensor]:
    def batches():
        for step in range(STEPS):
            generator = torch.Generator().manual_seed(100 * number + step)
            batch = torch.randn(6, 4, generator=generator)
            batch[0, 0] = STEPS * number + step
            yield batch

    return Epoch(STEPS, islice(batches(), start, None))


def run(task, epochs=3, engine=None, rate=1e-2, **settings):
    plan = Plan(
        what="line",
        epochs=epochs,
        epoch_of=epoch_of,
        rate_at=lambda _: rate,
        weigh=lambda _epoch, _step, losses: torch.stack(list(losses.values())).sum(),
    )
    optimizer = torch.optim.Adam(task.parameters(), fused=True)
    return train(task, optimizer, plan, replace(engine or Engine(seed=7), quiet=True, **settings))


def test_curves_are_means_over_the_steps_that_have_a_loss():
    task = Regression()
    curves = run(task, epochs=2, rate=0.0).curves
    assert task.seen == list(range(10))
    weight = task.layer.weight.abs().sum().item()
    for row in curves:
        assert row["size"] == pytest.approx(weight)
    csv = curves_as_csv(curves).splitlines()
    assert csv[0] == "epoch,learning_rate,total,error,size"
    assert curves_as_csv([{"epoch": 0.0, "total": 1.0, "a": 2.0}, {"epoch": 1.0, "total": 1.0}]).splitlines()[2] == (
        "1,nan,1,nan"
    )


def test_between_two_looks_the_last_known_loss_is_told_and_none_before_the_first(monkeypatch):
    monkeypatch.setattr(trainer, "CPU_SETTLE_STEPS", 3)
    told = []
    curves = run(Regression(), epochs=2, engine=Engine(seed=7, tick=lambda *values: told.append(values[3]))).curves
    assert told[:2] == [None, None]
    assert told[2] == told[3] == told[4]  # of the third step
    assert told[5] == told[6] != told[4]  # of the last step of the first epoch, which its end looked at
    assert told[7] == told[9] != told[6]
    assert all(loss is None or math.isfinite(loss) for loss in told)
    assert len(curves) == 2
    assert loss_note(None) == ""
    assert loss_note(1.23456) == ", loss 1.235"


@pytest.mark.parametrize("stop", [1, 4, 5, 6, 11, 14])
def test_a_run_that_is_interrupted_anywhere_goes_on_with_the_same_bits(tmp_path, stop):
    whole = Regression()
    expected = run(whole).curves

    def tick(_epoch, done, _expected, _loss):
        if done == stop:
            raise KeyboardInterrupt

    resume = ResumeSettings(tmp_path / "partial", "f", seconds=1e9, steps=2)
    with pytest.raises(KeyboardInterrupt):
        run(Regression(), engine=Engine(seed=7, tick=tick), resume=resume)
    states = [int(path.name.removeprefix("step-")) for path in (tmp_path / "partial").glob("step-*")]
    assert states == [(stop - 1) // 2 * 2] if stop > 2 else not states  # saved after every second step
    again = Regression()
    curves = run(again, resume=resume).curves
    assert again.seen[0] == (states[0] if states else 0)
    for key, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert curves_as_csv(curves) == curves_as_csv(expected)


def test_a_run_that_is_asked_to_stop_at_its_very_end_keeps_its_state(tmp_path):
    """The result is written by the caller, so until then the state is all there is."""
    whole = Regression()
    expected = run(whole).curves
    last = 3 * STEPS
    seen = []
    asked = Engine(seed=7, tick=lambda _epoch, done, _expected, _loss: seen.append(done), stop=lambda: seen[-1] == last)
    resume = ResumeSettings(tmp_path / "partial", "f", seconds=1e9)
    with pytest.raises(KeyboardInterrupt):
        run(Regression(), engine=asked, resume=resume)
    again = Regression()
    assert curves_as_csv(run(again, resume=resume).curves) == curves_as_csv(expected)
    assert not again.seen
    assert torch.equal(again.layer.weight, whole.layer.weight)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    resume = ResumeSettings(tmp_path / "partial", "f", seconds=1e9, steps=3)
    with pytest.raises(WorkError) as caught:
        run(Regression(poisoned=8), resume=resume)
    state = tmp_path / "partial" / "step-000000006"
    assert "the loss is not finite at epoch 1, step 3 (error nan)" in str(caught.value)
    assert f"the last good state is kept in {state}" in str(caught.value)
    assert (read_json(state / "state.json", "state")["epoch"], read_json(state / "state.json", "state")["step"]) == (
        1,
        1,
    )


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    def poison(_epoch, done, _expected, _loss):
        if done == 4:
            with torch.no_grad():
                task.layer.bias.fill_(math.inf)

    task = Regression()
    with pytest.raises(WorkError, match="the weights are not finite after epoch 0, step 4"):
        run(task, engine=Engine(tick=poison), resume=ResumeSettings(tmp_path / "p", "f", seconds=1e9, steps=4))
    assert not list((tmp_path / "p").glob("step-*"))


def test_weights_that_the_last_step_spoiled_are_no_result():
    def poison(_epoch, done, expected, _loss):
        if done == expected:
            with torch.no_grad():
                task.layer.bias.fill_(math.nan)

    task = Regression()
    with pytest.raises(WorkError, match="the weights are not finite after epoch 3, step 0"):
        run(task, engine=Engine(tick=poison))


def test_gradients_are_clipped_to_their_norm():
    task = Regression()
    norms = []

    class Recording(torch.optim.SGD):
        def step(self, closure=None):
            norms.append(torch.cat([p.grad.flatten() for p in task.parameters()]).norm().item())
            return super().step(closure)

    plan = Plan("line", 1, epoch_of, lambda _: 0.0, lambda _epoch, _step, losses: 100 * losses["error"])
    train(task, Recording(task.parameters(), lr=0.0), plan, Engine(clip=0.5, quiet=True))
    assert norms == pytest.approx([0.5] * STEPS)


def test_the_best_weights_are_those_of_the_highest_score():
    task = Regression()
    scores = iter([1.0, 5.0, 2.0])
    weights = []

    def score() -> dict[str, float]:
        assert not task.training
        weights.append(task.layer.weight.detach().clone())
        return {"mAP": next(scores)}

    found = run(task, epochs=5, validation=Validation(2, score, "mAP"))
    assert [row["epoch"] for row in found.validations] == [1, 3, 4]  # the last epoch is always checked
    assert found.best == {"epoch": 3.0, "mAP": 5.0}
    assert torch.equal(found.best_weights["layer.weight"], weights[1])
    assert not torch.equal(task.layer.weight, weights[1])
    assert task.training


def test_a_check_alone_saves_no_state(tmp_path):
    """With a check after every epoch, states would take as long as the training."""
    resume = ResumeSettings(tmp_path / "p", "f", seconds=1e9)
    seen = []

    def done(_):
        seen.append(list((tmp_path / "p").glob("step-*")))

    checks = Validation(1, lambda: {"mAP": 1.0}, "mAP")
    run(Regression(), engine=Engine(epoch_done=done), resume=resume, validation=checks)
    assert seen
    assert not any(seen)


def test_the_best_weights_of_any_memory_layout_are_saved_and_found_again(tmp_path):
    class Convolution(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)

    resume = ResumeSettings(tmp_path / "p", "f", seconds=1e9, steps=1)
    checks = Validation(1, lambda: {"mAP": 1.0}, "mAP")  # the first check stays the best

    def tick(_epoch, done, _expected, _loss):
        if done == 2 * STEPS + 2:
            raise KeyboardInterrupt

    task = Convolution()
    with pytest.raises(KeyboardInterrupt):
        run(task, engine=Engine(seed=7, tick=tick), resume=resume, validation=checks)
    best = run(Convolution(), resume=resume, validation=checks).best_weights
    assert torch.equal(best["kernel.weight"], task.kernel.weight)
    whole = run(Convolution(), validation=checks).best_weights
    assert best.keys() == whole.keys()
    assert all(torch.equal(best[key], whole[key]) for key in whole)


def test_a_step_without_a_sum_moves_nothing_but_counts():
    task = Regression()
    before = task.layer.weight.detach().clone()
    optimizer = torch.optim.Adam(task.parameters(), lr=1.0)
    plan = Plan(
        "line", 1, epoch_of, lambda _: 1.0, lambda _epoch, step, losses: losses["error"] if step == 10 else None
    )
    found = train(task, optimizer, plan, Engine(quiet=True))
    assert torch.equal(task.layer.weight, before)
    assert len(task.seen) == STEPS
    assert found.timings[0]["steps"] == STEPS
    assert "total" not in found.curves[0]
    with pytest.raises(WorkError, match="no step had a loss"):
        _ = found.loss


def test_time_is_told_by_phase():
    timings = run(Regression(), epochs=1).timings[0]
    assert {"data", "forward", "backward", "optimizer"} <= timings.keys()
    assert all(value >= 0 for value in timings.values())
    assert min(timings["forward"], timings["backward"]) > 0


def test_an_epoch_that_is_too_short_is_an_error():
    with pytest.raises(WorkError, match="epoch 0 ended after 5 of 6 steps"):
        run_epochs(
            Regression(), torch.optim.SGD(Regression().parameters()), 1, lambda n: Epoch(6, epoch_of(n).batches),
            lambda _: 0.0, what="line", quiet=True,
        )  # fmt: skip


def test_bfloat16_training_reaches_a_loss_near_that_of_float32():
    losses = []
    for name in ("fp32", "bf16"):
        task = Regression()
        losses.append(run(task, epochs=20, engine=Engine(precision=Precision(name), seed=7)).curves[-1]["error"])
        assert task.layer.weight.dtype == torch.float32
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_one_task_cannot_be_shared_out_to_parts():
    with pytest.raises(InputError, match="cannot be split"):
        run(Regression(), engine=Engine(parts=2))
