"""The progress line of a study: steps, runs, time left by finished steps, failures."""

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


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_steps_and_runs_are_counted_and_the_time_left_follows_what_finished_steps_took(tmp_path: Path):
    plan = make_plan(STUDY, tmp_path, Base(), None, {})
    schedule = Schedule(plan.steps, tmp_path, lambda step: None)
    stream, clock = io.StringIO(), Clock()
    progress = StudyProgress(schedule, plan, stream=stream, clock=clock)
    progress.begin(lambda step: ("cpu", 1))
    count = len(plan.steps)
    assert progress.text() == f"ablate: 0/{count} steps, 0/4 runs, estimating the time left"
    told = 0
    while (step := schedule.take()) is not None:
        if step.name == "seed-1/methods/ccaf/encoder":
            schedule.fail(step, "broken")
            continue
        clock.now += 3 * step.cost
        schedule.finish(step, "hash", 3 * step.cost)  # three times as long as estimated: so will be the rest
        if step.kind == "metrics" and schedule.missing:
            left = duration(3 * sum(plan.steps[name].cost for name in schedule.left))
            runs = sum(plan.steps[name].kind == "metrics" for name in schedule.notes)
            failed = ", 4 steps failed" if schedule.failures else ""
            line = f"ablate: {len(schedule.notes)}/{count} steps, {runs}/4 runs, about {left} left{failed}"
            assert progress.text() == line
            told += 1
    assert told >= 2
    assert schedule.over
    clock.now = 100.0
    last = f"ablate: {count - 4}/{count} steps, 3/4 runs, took 01:40, 4 steps failed"
    assert progress.text() == last
    progress.show(last=True)
    assert stream.getvalue() == f"{last}\n"


def test_a_long_step_that_runs_counts_for_what_it_has_run(tmp_path: Path):
    plan = make_plan(STUDY, tmp_path, Base(), None, {})
    schedule = Schedule(plan.steps, tmp_path, lambda step: None)
    clock = Clock()
    progress = StudyProgress(schedule, plan, stream=io.StringIO(), clock=clock)
    progress.begin(lambda step: ("cpu", 1))
    while (step := schedule.take()).name != "seed-1/methods/ccaf/encoder":
        schedule.finish(step, "hash", 2 * step.cost)
    left = 2 * sum(plan.steps[name].cost for name in schedule.left)
    assert f"about {duration(left)} left" in progress.text()
    for part in (0.3, 0.95, 5.0):
        clock.now = part * 2 * step.cost
        assert f"about {duration(left - min(part, 0.95) * 2 * step.cost)} left" in progress.text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_said_has_a_line_of_its_own(tmp_path: Path):
    plan = make_plan(STUDY, tmp_path, Base(), None, {})
    for stream, expected in ((io.StringIO(), "ccaf: 26.2\n"), (Terminal(), "\rccaf: 26.2\x1b[K\n\rablate: 0/")):
        clock = Clock()
        progress = StudyProgress(Schedule(plan.steps, tmp_path, lambda step: None), plan, stream=stream, clock=clock)
        clock.now = 2.0
        progress.show()
        before = len(stream.getvalue())
        progress.say("ccaf: 26.2")
        progress.show()
        assert stream.getvalue()[before:].startswith(expected)


def test_quiet_writes_nothing(tmp_path: Path):
    plan = make_plan(STUDY, tmp_path, Base(), None, {})
    stream = io.StringIO()
    with StudyProgress(Schedule(plan.steps, tmp_path, lambda step: None), plan, quiet=True, stream=stream) as progress:
        progress.show()
        progress.say("ccaf: 26.2")
    assert stream.getvalue() == ""
