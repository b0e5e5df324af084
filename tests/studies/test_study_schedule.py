"""When runs end and how good the time left is, by playing studies through with a clock of their own."""

import random
from pathlib import Path

import pytest

from pipeline.studies.pace import time_left
from pipeline.studies.plan import make_plan
from pipeline.studies.reading import load_study
from pipeline.studies.rows import Base
from pipeline.studies.schedule import Schedule
from tests.studies.simulation import Simulation

FACTORS = {"encoder": 0.1, "prompts": 0.4, "clip": 0.3, "population": 2.0, "shards": 3.0, "leakage": 0.5, "metrics": 4.0}
"""Real seconds for each estimated one: far off, and for each kind in another way."""


def plan_of(tmp_path: Path, seeds=(0, 1)):
    return make_plan(load_study("walkers").with_seeds(seeds), tmp_path, Base(), None, {})


def seconds_of(plan, spread: float = 0.0) -> dict[str, float]:
    draw = random.Random(0)
    return {
        name: step.cost * FACTORS.get(step.kind, 1.0) * draw.uniform(1 - spread, 1 + spread)
        for name, step in plan.steps.items()
    }


def end_by_longest_path(plan, seconds, slots: int) -> float:
    """When all is done if the step with the longest path behind it always goes first, with one look a second."""
    path: dict[str, float] = {}
    for name in reversed(list(plan.steps)):
        readers = [other for other, step in plan.steps.items() if name in step.inputs.values()]
        path[name] = plan.steps[name].cost + max((path[reader] for reader in readers), default=0.0)
    ends: dict[str, float] = {}
    free = [0.0] * slots
    waiting = set(plan.steps)
    now = 0.0
    while waiting:
        for slot, at in enumerate(free):
            if at <= now:
                ready = [n for n in waiting if all(ends.get(i, now + 1) <= now for i in plan.steps[n].inputs.values())]
                if ready:
                    name = max(ready, key=path.__getitem__)
                    waiting.remove(name)
                    free[slot] = ends[name] = now + seconds[name]
        later = [at for at in (*free, *ends.values()) if at > now]
        now = min(later, default=now)
    return max(ends.values())


def run_ends(plan, simulation: Simulation) -> dict[str, float]:
    """When each trained run has its metrics."""
    return {
        run.metrics: simulation.ended[run.metrics] for row in plan.rows for run in row.runs.values() if run.encoder
    }


def chain_of(plan, name: str) -> set[str]:
    """A step and all that it needs."""
    found = {name}
    for other in plan.steps[name].inputs.values():
        found |= chain_of(plan, other)
    return found


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 3, 4)])
def test_runs_are_finished_early_and_the_whole_is_not_later(tmp_path, slots, seeds):
    plan = plan_of(tmp_path, seeds)
    seconds = seconds_of(plan)
    simulation = Simulation(plan, tmp_path, seconds, slots)
    simulation.play()
    whole = max(simulation.ended.values())
    ends = sorted(run_ends(plan, simulation).values())
    print(slots, seeds, "first", ends[0], "half", ends[len(ends) // 2], "whole", whole, "lpf", end_by_longest_path(plan, seconds, slots))
    for run in run_ends(plan, simulation):
        chain = chain_of(plan, run)
    alone = min(sum(seconds[name] for name in chain_of(plan, run)) for run in run_ends(plan, simulation))
    print(alone, [round(e) for e in ends])
