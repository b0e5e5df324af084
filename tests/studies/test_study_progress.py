"""The progress line of a study: runs, time left by the steps' costs, failures."""

import io
from pathlib import Path

from pipeline.progress import duration
from pipeline.studies.plan import make_plan
from pipeline.studies.progress import StudyProgress
from pipeline.studies.rows import Base
from pipeline.studies.schedule import Schedule
from pipeline.studies.study import Study

STUDY = Study.model_validate(
    {
        "title": "Small",
        "source": "a test",
        "parameters": {"model": {"name": "walker-clip"}},
        "seeds": [0, 1],
        "methods": {"baseline": None, "ccaf": None},
        "oracles": [],
        "frozen": False,
    }
)


def test_runs_are_counted_and_the_time_left_follows_the_costs(tmp_path: Path):
    plan = make_plan(STUDY, tmp_path, Base(), None, {})
    schedule = Schedule(plan.steps, tmp_path, lambda step: None)
    stream = io.StringIO()
    progress = StudyProgress(schedule, plan, stream=stream)
    progress.parallel(2)
    total = sum(step.cost for step in plan.steps.values())
    started = progress._started
    assert progress.text(started) == (
        f"ablate: 0/4 runs, {len(plan.steps)} steps to do, about {duration(total / 2)} left"
    )
    while (step := schedule.take()) is not None:
        if step.name == "seed-1/methods/ccaf/encoder":
            schedule.fail(step, "broken")
        else:
            schedule.finish(step, "hash", 1.0)
            if step.kind == "encoder":  # as fast as the costs say: then the time left is what they say
                spent = total - schedule.cost_left
                left = duration(schedule.cost_left / 2)
                assert f"about {left} left" in progress.text(started + spent / 2)
    assert schedule.over
    assert progress.text(started + 100) == "ablate: 3/4 runs, took 01:40, 4 steps failed"
    progress.show(last=True)
    assert stream.getvalue().startswith("ablate: 3/4 runs")


def test_a_long_step_that_runs_counts_for_what_it_has_run(tmp_path: Path):
    plan = make_plan(STUDY, tmp_path, Base(), None, {})
    schedule = Schedule(plan.steps, tmp_path, lambda step: None)
    progress = StudyProgress(schedule, plan, stream=io.StringIO())
    progress.parallel(1)
    schedule.finish(schedule.take(lambda step: step.kind == "population"), "hash", 1.0)
    step = schedule.take(lambda step: step.kind == "clip")
    now = progress._started
    progress.text(now)
    total, left = sum(step.cost for step in plan.steps.values()), schedule.cost_left
    for part in (0.3, 0.95, 5.0):
        elapsed = part * step.cost
        expected = left - min(part, 0.95) * step.cost
        pace = (elapsed + 60) / (total - expected + 60)
        assert f"about {duration(expected * pace)} left" in progress.text(now + elapsed)


def test_quiet_writes_nothing(tmp_path: Path):
    plan = make_plan(STUDY, tmp_path, Base(), None, {})
    stream = io.StringIO()
    with StudyProgress(Schedule(plan.steps, tmp_path, lambda step: None), plan, quiet=True, stream=stream) as progress:
        progress.show()
    assert stream.getvalue() == ""
