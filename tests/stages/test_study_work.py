"""What a step of a study may go on with: its own unfinished work, and nothing of another program or other inputs."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.studies.plan import make_plan
from pipeline.studies.rows import Base, Given
from pipeline.studies.study import Study
from stages.study.work import Task, forget_others_work

STUDY = Study.model_validate(
    {
        "title": "Small",
        "source": "a test",
        "parameters": {"model": {"name": "walker-clip"}},
        "seeds": [0],
        "methods": {"ccaf": None},
    }
)


def begun(folder: Path, kind: str, given: Given | None = None) -> Task:
    """A step of some kind whose artifact is there, as a killed study leaves it."""
    steps = make_plan(STUDY, folder, Base(), given, {}).steps.values()
    step = next(step for step in steps if step.kind == kind)
    step.out.mkdir(parents=True)
    (step.out / "made").write_text("by an earlier call")
    (folder / "states").mkdir()
    return Task(step, {"data": "hash"}, folder / "log", folder / "states" / kind, folder)


@pytest.mark.parametrize("kind", ["prompts", "shards"])
def test_a_step_goes_on_with_its_own_work_and_not_with_that_of_another_program_or_other_inputs(kind, tmp_path):
    task = begun(tmp_path, kind)
    forget_others_work(task)
    assert not task.step.out.exists()  # nobody knows what made it
    for other in (replace(task, step=replace(task.step, code="other")), replace(task, inputs={"data": "other"})):
        task.step.out.mkdir()
        forget_others_work(task)
        assert task.step.out.is_dir()
        forget_others_work(other)
        assert not task.step.out.exists()
        forget_others_work(task)


def test_shards_that_the_study_did_not_render_are_never_removed(tmp_path):
    task = begun(tmp_path, "shards", Given(tmp_path / "shards", None, "clip"))
    forget_others_work(task)
    assert (task.step.out / "made").is_file()
