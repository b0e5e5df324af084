"""What workers tell their driver: progress, results, and errors that another attempt would only repeat."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError, WorkError
from pipeline.ray_session import Resources
from pipeline.trainer.distributed import Ranks
from pipeline.trainer.worker_report import WorkerReport, read_stopped
from pipeline.trainer.workers import WorkerPlan, _check_resources, _worker_loop, run_workers


def plan(folder, **settings) -> WorkerPlan:
    return WorkerPlan(workers=2, folder=folder, name="a", **settings)


@pytest.mark.parametrize("kind", [InputError, WorkError])
def test_an_error_of_the_project_ends_the_run_with_its_message_and_is_not_tried_again(tmp_path, kind):
    calls = []

    def function(config, ranks, device, report):
        calls.append((config, ranks, device))
        raise kind("the loss is not finite")

    loop = _worker_loop(function, tmp_path, gpu=False, threads=1)
    with pytest.raises(kind):
        loop({"a": 1})
    loop({"a": 1})
    assert calls == [({"a": 1}, Ranks(0, 1), "cpu")]
    stopped = read_stopped(tmp_path)
    assert type(stopped) is kind
    assert str(stopped) == "the loss is not finite"


def test_another_error_is_left_to_ray(tmp_path):
    def function(config, ranks, device, report):
        raise MemoryError

    loop = _worker_loop(function, tmp_path, gpu=False, threads=1)
    for _ in range(2):
        with pytest.raises(MemoryError):
            loop({})
    assert read_stopped(tmp_path) is None


def test_the_first_rank_reports_and_the_others_are_silent(tmp_path):
    for rank in (1, 0):
        report = WorkerReport(tmp_path, Ranks(rank, 2))
        report.tell(f"rank {rank} goes on")
        report.tick(0, 1, 10, 2.5)
        report.tick(9, 10, 10, 1.25)
        report.result({"loss": 1.25, "rank": rank})
    found = json.loads((tmp_path / "progress.json").read_text())
    assert found == {"epoch": 9, "done": 10, "expected": 10, "loss": "1.250", "said": ["rank 0 goes on"]}
    assert json.loads((tmp_path / "result.json").read_text()) == {"loss": 1.25, "rank": 0}


def test_a_cluster_that_is_too_small_is_refused(tmp_path):
    with pytest.raises(InputError, match="--workers 2 need a GPU each, but Ray has 1"):
        _check_resources(plan(tmp_path), Resources(8, 1.0, 8), gpu=True, threads=1)
    with pytest.raises(InputError, match=r"--workers 2 with 4 CPUs each \(threads\) need 8, but Ray has 7, and 4 on"):
        _check_resources(plan(tmp_path), Resources(7, 0.0, 4), gpu=False, threads=4)
    with pytest.raises(InputError, match="need 8, but Ray has 12, and 3 on its largest node"):
        _check_resources(plan(tmp_path), Resources(12, 0.0, 3), gpu=False, threads=4)
    _check_resources(plan(tmp_path), Resources(8, 2.0, 4), gpu=True, threads=4)


def arrive(marker: Path):
    """What a worker makes of the function that it is sent: the first one dies over it."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return give_the_number_of_workers


def give_the_number_of_workers(config, ranks, device, report):
    report.result({"workers": ranks.world})


class Fatal:
    """A function that kills the first worker that reads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return arrive, (self.marker,)


def test_a_worker_that_dies_while_all_are_started_is_answered_as_one_that_dies_later(tmp_path):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    chosen = plan(tmp_path / "state", threads=1, gpu=False)
    done = run_workers(Fatal(tmp_path / "killed"), {}, chosen, what="x", quiet=True)
    assert (tmp_path / "killed").exists()
    assert done == {"workers": 2}
