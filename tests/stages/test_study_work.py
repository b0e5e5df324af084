"""What a step of a study may go on with: its own unfinished work, and nothing of another program or other inputs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.models.checkpoint import save_checkpoint
from pipeline.studies.plan import make_plan
from pipeline.studies.rows import Base, Given
from pipeline.studies.steps import Step
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


def make(step: Step) -> None:
    """The artifact of a step, as far as it says whose it is."""
    if step.kind == "prompts":
        save_checkpoint(step.out, "prompts", {"prompts": torch.zeros(2)}, {})
        return
    step.out.mkdir(parents=True, exist_ok=True)
    (step.out / "_plan.json").write_text('{"fingerprint": "f", "shards": 1}')
    (step.out / "part-00000-of-00001.parquet").write_bytes(b"by an earlier call")


def begun(folder: Path, kind: str, given: Given | None = None) -> Task:
    """A step of some kind whose artifact is there, as a killed study leaves it."""
    steps = make_plan(STUDY, folder, Base(), given, {}).steps.values()
    step = next(step for step in steps if step.kind == kind)
    make(step)
    (folder / "states").mkdir()
    return Task(step, {"data": "hash"}, folder / "log", folder / "states" / kind, folder)


@pytest.mark.parametrize("kind", ["prompts", "shards"])
def test_a_step_goes_on_with_its_own_work_and_not_with_that_of_another_program_or_other_inputs(kind, tmp_path):
    task = begun(tmp_path, kind)
    forget_others_work(task)
    assert not task.step.out.exists()  # nobody knows what made it
    for other in (replace(task, step=replace(task.step, code="other")), replace(task, inputs={"data": "other"})):
        make(task.step)
        forget_others_work(task)
        assert task.step.out.is_dir()
        forget_others_work(other)
        assert not task.step.out.exists()
        forget_others_work(task)


@pytest.mark.parametrize("kind", ["prompts", "shards"])
def test_a_users_own_files_in_a_study_are_never_removed(kind, tmp_path):
    task = begun(tmp_path, kind)
    (task.step.out / "notes.txt").write_text("mine")
    forget_others_work(task)
    assert [path.name for path in task.step.out.iterdir()] == ["notes.txt"]


def test_shards_that_the_study_did_not_render_are_never_removed(tmp_path):
    task = begun(tmp_path, "shards", Given(tmp_path / "shards", None, "clip"))
    forget_others_work(task)
    assert (task.step.out / "part-00000-of-00001.parquet").is_file()
