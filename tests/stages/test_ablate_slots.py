"""How many steps of a study run at once, and what each takes from Ray, on machines that the tests do not have."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.ray_session import Resources
from pipeline.studies.plan import make_plan
from pipeline.studies.rows import Base
from pipeline.studies.study import Study
from stages.study.run import Machines, _demand, _find_slots, _with_threads

STUDY = Study.model_validate(
    {
        "title": "Small",
        "source": "a test",
        "parameters": {"model": {"name": "walker-clip"}},
        "seeds": [0],
        "methods": {"ccaf": None},
    }
)
STEPS = make_plan(STUDY, Path("/nowhere"), Base(), None, {}).steps
BY_KIND = {step.kind: step for step in STEPS.values()}


@pytest.mark.parametrize(
    ("resources", "machines", "threads", "device", "expected"),
    [
        (Resources(8, 0, 8), Machines(), 1, "auto", (8, 0)),
        (Resources(8, 0, 8), Machines(workers=3), 1, "auto", (3, 0)),
        (Resources(8, 0, 8), Machines(), 3, "auto", (2, 0)),
        (Resources(8, 2, 8), Machines(), 1, "auto", (8, 2)),
        (Resources(8, 2, 8), Machines(gpus_per_run=0.5), 1, "cuda", (8, 4)),
        (Resources(8, 2, 8), Machines(gpus_per_run=0.1), 1, "cuda", (8, 20)),
        (Resources(8, 2, 8), Machines(gpus_per_run=0.5, workers=3), 1, "cuda", (3, 3)),
        (Resources(8, 2, 8), Machines(), 1, "cpu", (8, 0)),
    ],
)
def test_room_is_that_of_cpus_or_gpus(resources, machines, threads, device, expected):
    slots = _find_slots(resources, machines, threads, device)
    assert (slots.cpu, slots.gpu) == expected


@pytest.mark.parametrize(
    ("resources", "machines", "threads", "device", "message"),
    [
        (Resources(8, 0, 8), Machines(), 1, "cuda", "a run takes 1 GPUs"),
        (Resources(8, 1, 8), Machines(gpus_per_run=2), 1, "auto", "a run takes 2 GPUs"),
        (Resources(8, 0, 4), Machines(), 6, "cpu", "the largest machine has 4 CPUs"),
    ],
)
def test_what_never_fits_is_refused(resources, machines, threads, device, message):
    with pytest.raises(InputError, match=message):
        _find_slots(resources, machines, threads, device)


def test_networks_take_a_gpu_and_the_rest_a_cpu():
    machines = Machines(gpus_per_run=0.5)
    slots = _find_slots(Resources(4, 1, 4), machines, 1, "auto")
    gpus = {kind for kind, step in BY_KIND.items() if _demand(step, slots, 1, machines).get("num_gpus")}
    assert gpus == {"clip", "prompts", "encoder", "features"}
    assert _demand(BY_KIND["encoder"], slots, 1, machines) == {"num_cpus": 1, "num_gpus": 0.5}
    assert _demand(BY_KIND["shards"], slots, 1, machines) == {"num_cpus": 0}  # its own workers take what they need
    for _ in range(2):
        assert slots.fits(BY_KIND["encoder"])
        slots.take(BY_KIND["encoder"])
        slots.taken[f"another {len(slots.taken)}"] = slots.taken.pop(BY_KIND["encoder"].name)
    assert not slots.fits(BY_KIND["encoder"])
    assert slots.fits(BY_KIND["data"])


def test_a_step_has_its_threads_and_parsing_shares_the_gpu_with_the_others():
    machines = Machines(gpus_per_run=0.25)
    assert _with_threads(BY_KIND["encoder"], 1, machines).parameters.threads == 1
    shards = _with_threads(BY_KIND["shards"], 2, machines)
    assert (shards.parameters.threads, shards.parameters.parse.gpus_per_worker) == (2, 0.25)
    assert shards.fingerprint == BY_KIND["shards"].fingerprint
