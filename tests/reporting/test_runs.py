"""Curves and configuration of a training stage: read as they were written, refused when damaged."""

import pytest
import torch

from pipeline.errors import InputError
from pipeline.models.checkpoint import save_checkpoint
from pipeline.reporting.runs import make_panels, read_run
from pipeline.trainer.curves import curves_as_csv

ROWS = [
    {"epoch": 0, "learning_rate": 1e-4, "total": 3.5, "i2t": 2.0, "new": 1.5, "seconds": 7.0},
    {"epoch": 1, "learning_rate": 1e-5, "total": 2.5, "i2t": 1.25, "new": float("nan"), "seconds": 7.0},
]


def save(folder, curves, kind="prompts"):
    save_checkpoint(folder, kind, {"a": torch.zeros(1)}, {"seed": 4}, files={"curves.csv": curves})
    return folder


def test_curves_are_read_as_the_loop_writes_them(tmp_path):
    run = read_run(save(tmp_path / "c", curves_as_csv(ROWS)), "prompts", "train")
    assert list(run.epochs) == [0, 1]
    assert run.curves["total"] == (3.5, 2.5)
    assert run.curves["learning_rate"] == (1e-4, 1e-5)
    assert "seconds" not in run.curves
    assert run.config["seed"] == 4


def test_panels_follow_the_given_order_and_leave_out_what_is_not_finite(tmp_path):
    run = read_run(save(tmp_path / "c", curves_as_csv(ROWS)), "prompts", "train")
    panels = make_panels(run, {"total": "sum", "i2t": "images to texts", "absent": "-", "learning_rate": ""})
    assert [(panel.name, panel.meaning) for panel in panels] == [
        ("total", "sum"), ("i2t", "images to texts"), ("learning_rate", ""), ("new", ""),
    ]  # fmt: skip
    assert [(panel.first, panel.last) for panel in panels] == [(3.5, 2.5), (2.0, 1.25), (1e-4, 1e-5), (1.5, 1.5)]


def test_a_curve_without_any_value_is_left_out(tmp_path):
    run = read_run(save(tmp_path / "c", "epoch,total,odd\n0,1,nan\n"), "prompts", "train")
    assert [panel.name for panel in make_panels(run, {})] == ["total"]


@pytest.mark.parametrize("curves", ["", "epoch,total\n", "epoch,total\n0,high\n", "epoch,total\n0\n", "total\n1\n"])
def test_damaged_curves_are_refused(tmp_path, curves):
    with pytest.raises(InputError, match=r"curves\.csv .*run `train` again"):
        read_run(save(tmp_path / "c", curves), "prompts", "train")


def test_missing_curves_and_checkpoints_and_other_kinds_are_refused(tmp_path):
    folder = save(tmp_path / "c", curves_as_csv(ROWS))
    with pytest.raises(InputError, match="is no encoder checkpoint: run `train`"):
        read_run(folder, "encoder", "train")
    (folder / "curves.csv").unlink()
    with pytest.raises(InputError, match=r"curves\.csv cannot be read"):
        read_run(folder, "prompts", "train")
    with pytest.raises(InputError, match=r"no prompts checkpoint at .*: run `train` first"):
        read_run(tmp_path / "nowhere", "prompts", "train")
