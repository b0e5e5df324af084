"""When the runs of a study end and how good the time left is: studies played through with a clock of their own."""

import heapq
import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.studies.pace import time_left
from pipeline.studies.plan import make_plan
from pipeline.studies.progress import StudyProgress
from pipeline.studies.reading import load_study
from pipeline.studies.rows import Base, Plan
from pipeline.studies.schedule import Schedule

FACTORS = {
    "encoder": 0.1,
    "prompts": 0.4,
    "clip": 0.3,
    "population": 2.0,
    "shards": 3.0,
    "leakage": 0.5,
    "metrics": 4.0,
}
"""Real seconds for each estimated one: far off, and for each kind in another way."""


@dataclass
class Simulation:
    """Slots that do the steps of a plan, in the order that the schedule gives.

    Attributes:
        plan: What is done.
        folder: Of the notes.
        seconds: That each step takes, by name.
        slots: Steps at once.
        now: Seconds since the beginning.
        ended: When each step ended, by name.
    """

    plan: Plan
    folder: Path
    seconds: Mapping[str, float]
    slots: int
    now: float = 0.0
    ended: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        steps, turns = self.plan.steps, self.plan.turns
        self.schedule = Schedule(steps, self.folder, lambda step: None, slots=self.slots, turns=turns)

    def play(self, look: Callable[[], None] = lambda: None, tick: float = float("inf")) -> None:
        """Do everything; ``look`` is called when steps have started, and every ``tick`` seconds until one ends."""
        running: list[tuple[float, str]] = []
        while not self.schedule.over:
            while len(running) < self.slots and (step := self.schedule.take()) is not None:
                heapq.heappush(running, (self.now + self.seconds[step.name], step.name))
            look()
            while running[0][0] > self.now + tick:
                self.now += tick
                look()
            self.now, name = heapq.heappop(running)
            self.ended[name] = self.now
            self.schedule.finish(self.plan.steps[name], "hash", self.seconds[name])


METHODS = ("baseline", "clip-reid", "cal", "i2t", "i2t+i2i", "ccaf", "ccaf-plus")
METHODS += ("clip-reid+redress", "ccaf+redress", "ccaf-plus+redress")


def plan_of(folder: Path, seeds: tuple[int, ...]) -> Plan:
    study = load_study("walkers").with_methods(METHODS).with_seeds(seeds)
    return make_plan(study, folder, Base(), None, {})


def seconds_of(plan: Plan, spread: float = 0.0) -> dict[str, float]:
    draw = random.Random(0)
    return {
        name: step.cost * FACTORS.get(step.kind, 1.0) * draw.uniform(1 - spread, 1 + spread)
        for name, step in plan.steps.items()
    }


def end_by_longest_path(plan: Plan, seconds: Mapping[str, float], slots: int) -> float:
    """When all would be done if the step with the longest path behind it always went first, whoever waits."""
    path: dict[str, float] = {}
    for name in reversed(list(plan.steps)):
        readers = [other for other, step in plan.steps.items() if name in step.inputs.values()]
        path[name] = plan.steps[name].cost + max((path[reader] for reader in readers), default=0.0)
    ends: dict[str, float] = {}
    free = [0.0] * slots
    waiting = dict.fromkeys(plan.steps)
    now = 0.0
    while waiting:
        for slot in range(slots):
            ready = [n for n in waiting if all(ends.get(i, now + 1) <= now for i in plan.steps[n].inputs.values())]
            if free[slot] <= now and ready:
                name = max(ready, key=path.__getitem__)
                del waiting[name]
                free[slot] = ends[name] = now + seconds[name]
        now = min((at for at in ends.values() if at > now), default=now)
    return max(ends.values())


def needs_of(plan: Plan, name: str) -> set[str]:
    """A step and all that it needs."""
    return {name}.union(*(needs_of(plan, other) for other in plan.steps[name].inputs.values()))


def trained_runs(plan: Plan, seed: int) -> list[str]:
    return [row.runs[seed].metrics for row in plan.rows if row.runs[seed].encoder]


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 3, 4)])
def test_runs_are_finished_early_and_the_whole_is_hardly_later(tmp_path, slots, seeds):
    plan = plan_of(tmp_path, seeds)
    seconds = seconds_of(plan)
    simulation = Simulation(plan, tmp_path, seconds, slots)
    simulation.play()
    whole = max(simulation.ended.values())
    assert whole <= 1.02 * end_by_longest_path(plan, seconds, slots)
    runs = trained_runs(plan, seeds[0])
    ends = sorted(simulation.ended[name] for name in runs)
    alone = min(sum(seconds[name] for name in needs_of(plan, run)) for run in runs)
    assert ends[0] <= 1.25 * alone  # about as soon as if nothing else had been asked for
    if len(seeds) > 1:
        others = [simulation.ended[name] for seed in seeds[1:] for name in trained_runs(plan, seed)]
        assert ends[-1] < sorted(others)[len(others) // 2]  # a whole comparison on one seed long before the end
        assert ends[-1] <= 0.8 * whole


@pytest.mark.parametrize("slots", [1, 2])
def test_a_finished_encoder_is_scored_before_another_is_begun(tmp_path, slots):
    plan = plan_of(tmp_path, (0, 1))
    simulation = Simulation(plan, tmp_path, seconds_of(plan), slots)
    most = 0

    def look() -> None:
        nonlocal most
        done = simulation.schedule.notes.keys()
        runs = [run for row in plan.rows for run in row.runs.values() if run.encoder]
        most = max(most, sum(run.encoder in done and run.metrics not in done for run in runs))

    simulation.play(look)
    assert 0 < most <= slots


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_the_time_left_is_told_when_there_is_enough_to_tell_from_and_is_right(tmp_path, slots):
    plan = plan_of(tmp_path, (0, 1, 2))
    simulation = Simulation(plan, tmp_path, seconds_of(plan, spread=0.15), slots)
    progress = StudyProgress(simulation.schedule, plan, stream=io.StringIO(), clock=lambda: simulation.now)
    progress.begin(lambda step: ("cpu", slots))
    told: list[tuple[float, float | None, str]] = []
    simulation.play(lambda: told.append((simulation.now, progress.time_left(), progress.text())), tick=10.0)
    whole = max(simulation.ended.values())
    first_encoder = min(end for name, end in simulation.ended.items() if plan.steps[name].kind == "encoder")
    for now, left, text in told:
        assert (left is None) == ("estimating the time left" in text)
        if now < first_encoder:
            assert left is None  # encoders are most of the work, and nothing is known of them
        if left is not None:
            assert left == pytest.approx(whole - now, rel=0.2, abs=15.0)
    since = min(now for now, left, _ in told if left is not None)
    assert since <= first_encoder + 0.1 * whole
    assert all(left is not None for now, left, _ in told if now > since)


def test_what_an_earlier_call_measured_counts_until_this_one_has_measured(tmp_path):
    plan = plan_of(tmp_path, (0, 1))
    seconds = seconds_of(plan)
    first = Simulation(plan, tmp_path, seconds, 1)
    names = trained_runs(plan, 0)
    while not all(name in first.schedule.notes for name in names):
        step = first.schedule.take()
        first.schedule.finish(step, "hash", seconds[step.name])
    again = Schedule(plan.steps, tmp_path, lambda step: "hash", turns=plan.turns)
    assert again.reused == first.schedule.notes.keys()
    rest = sum(seconds[name] for name in again.left)
    assert time_left(again, {}, lambda step: ("cpu", 1)) == pytest.approx(rest)
    while (step := again.take()).kind != "encoder":
        again.finish(step, "hash", seconds[step.name])
    again.finish(step, "hash", 10 * seconds[step.name])  # this machine trains ten times slower
    known = sum(seconds[name] * (10 if plan.steps[name].kind == "encoder" else 1) for name in again.left)
    assert time_left(again, {}, lambda step: ("cpu", 1)) == pytest.approx(known)


def test_slots_of_gpus_and_of_cpus_are_apart(tmp_path):
    plan = plan_of(tmp_path, (0,))
    schedule = Schedule(plan.steps, tmp_path, lambda step: None)
    while (step := schedule.take()).kind != "encoder":
        schedule.finish(step, "hash", step.cost)
    schedule.finish(step, "hash", step.cost)
    while (step := schedule.take(lambda step: step.kind in ("features", "metrics", "leakage"))) is not None:
        schedule.finish(step, "hash", step.cost)
    left = {name: plan.steps[name] for name in schedule.left}

    def room(step) -> tuple[str, int]:
        return ("cpu", 100) if step.kind in ("metrics", "leakage") else ("gpu", 1)

    on_gpu = sum(step.cost for step in left.values() if room(step)[0] == "gpu")
    scores = max(step.cost for step in left.values() if room(step)[0] == "cpu")
    assert on_gpu <= time_left(schedule, {}, room) <= on_gpu + 2 * scores
