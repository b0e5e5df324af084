import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.ray_session import Resources
from pipeline.shards.making.placement import BYTES_ON_A_GPU, MOST_ON_A_GPU, Placement, choose_workers
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import WorkSettings

ONE_CARD = Resources(cpus=16, gpus=1, node_cpus=16, cpus_per_gpu=16)


@pytest.mark.parametrize(
    ("resources", "run_settings", "shards", "expected"),
    [
        (Resources(8, 0, 8), RunSettings(), 100, ("cpu", 8, 0)),
        (Resources(8, 0, 8), RunSettings(threads=3), 100, ("cpu", 2, 0)),
        (Resources(8, 0, 4), RunSettings(threads=4), 100, ("cpu", 2, 0)),
        (Resources(8, 0, 8), RunSettings(workers=5), 3, ("cpu", 3, 0)),
        (Resources(8, 2, 8, 4), RunSettings(), 100, ("cuda", 2, 1)),
        (Resources(8, 2, 8, 4), RunSettings(work=WorkSettings(gpus_per_worker=0.5)), 100, ("cuda", 4, 0.5)),
        (Resources(8, 2, 8, 4), RunSettings(device="cpu"), 100, ("cpu", 8, 0)),
        (Resources(8, 2, 8, 4), RunSettings(device="cuda:1", workers=1), 100, ("cuda:1", 1, 0)),
        (
            Resources(8, 2, 8, 4),
            RunSettings(device="cuda:0", work=WorkSettings(gpus_per_worker=0.25)),
            100,
            ("cuda:0", 4, 0),
        ),
    ],
)
def test_device_and_workers(
    resources: Resources, run_settings: RunSettings, shards: int, expected: tuple[str, int, float]
) -> None:
    assert choose_workers(resources, run_settings, shards, _nobody) == Placement(*expected)


@pytest.mark.parametrize(
    ("resources", "run_settings", "message"),
    [
        (Resources(8, 0, 8), RunSettings(device="cuda"), "Ray finds no GPU"),
        (Resources(8, 2, 8, 4), RunSettings(device="cuda:2"), "'cuda:2' cannot be used here: Ray finds 2 GPUs"),
        (Resources(8, 2, 8, 4), RunSettings(device="cuda:1", address="head:6379"), "names a GPU of one machine"),
        (Resources(8, 2, 8, 4), RunSettings(device="mps"), "device 'mps': parsing runs on"),
        (Resources(8, 2, 8, 4), RunSettings(device="cuda:x"), "device 'cuda:x': parsing runs on"),
    ],
)
def test_a_device_that_is_not_there_is_refused(resources: Resources, run_settings: RunSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_workers(resources, run_settings, 10)


@pytest.mark.parametrize(
    ("least", "most", "shards", "expected"),
    [
        (4, 32, 100, Placement("cpu", 4, 0, 32)),
        (4, 32, 20, Placement("cpu", 4, 0, 20)),
        (4, 32, 4, Placement("cpu", 4, 0, 0)),
        (4, 32, 2, Placement("cpu", 2, 0, 0)),
        (4, 0, 100, Placement("cpu", 4, 0, 0)),
    ],
)
def test_a_pool_grows_to_the_number_of_shards_at_the_most(
    least: int, most: int, shards: int, expected: Placement
) -> None:
    run = RunSettings(workers=least, most_workers=most)
    assert choose_workers(Resources(cpus=8, gpus=0, node_cpus=8), run, shards) == expected


@pytest.mark.parametrize(
    ("cpus", "gigabytes", "expected"),
    [
        (16, 80, (4, 0.25)),
        (64, 80, (4, 0.25)),
        (12, 80, (3, 0.3333)),
        (8, 80, (2, 0.5)),
        (16, 24, (3, 0.3333)),
        (16, 15.8, (2, 0.5)),  # a card of 16 GB
        (16, 12, (1, 1.0)),
        (16, 6, (1, 1.0)),
        (16, 0, (1, 1.0)),  # nobody answers
        (2, 80, (1, 1.0)),
    ],
)
def test_a_gpu_gets_the_workers_that_its_cpus_and_its_memory_allow(
    cpus: int, gigabytes: float, expected: tuple[int, float]
) -> None:
    for gpus in (1, 3):
        resources = Resources(cpus=cpus * gpus, gpus=gpus, node_cpus=cpus * gpus, cpus_per_gpu=cpus)
        found = choose_workers(resources, RunSettings(), 100, lambda _: int(gigabytes * 10**9))
        assert found == Placement("cuda", expected[0] * gpus, expected[1])
    named = choose_workers(resources, RunSettings(device="cuda:2"), 100, lambda _: int(gigabytes * 10**9))
    assert named == Placement("cuda:2", expected[0], 0)


def test_more_threads_for_each_worker_leave_room_for_fewer() -> None:
    for run, workers in (
        (RunSettings(work=WorkSettings(io_threads=4)), 2),
        (RunSettings(work=WorkSettings(io_threads=1)), 4),
        (RunSettings(threads=16), 1),
    ):
        assert choose_workers(ONE_CARD, run, 100, lambda _: 80 * 10**9).workers == workers


@pytest.mark.parametrize(
    ("workers", "gpus", "share"), [(1, 1, 1), (4, 1, 0.25), (3, 2, 0.5), (2, 2, 1), (6, 1, 0.1666), (2, 8, 1)]
)
def test_workers_that_are_asked_for_share_the_gpus(workers: int, gpus: int, share: float) -> None:
    resources = Resources(cpus=8, gpus=gpus, node_cpus=8, cpus_per_gpu=8 / gpus)
    assert choose_workers(resources, RunSettings(workers=workers), 100, _nobody) == Placement("cuda", workers, share)


@pytest.mark.parametrize(
    ("least", "most", "gpus", "cpus_per_gpu", "expected"),
    [
        (1, 32, 1, 16, (1, 0.25, 32)),  # grows to four on the GPU
        (4, 32, 8, 16, (4, 0.25, 32)),
        (6, 32, 1, 16, (6, 0.1666, 32)),  # as many as were asked for, at the least
        (4, 8, 4, 2, (4, 1, 8)),
    ],
)
def test_a_pool_that_may_grow_leaves_room_on_the_gpus(
    least: int, most: int, gpus: int, cpus_per_gpu: int, expected: tuple[int, float, int]
) -> None:
    resources = Resources(gpus * cpus_per_gpu, gpus, gpus * cpus_per_gpu, cpus_per_gpu)
    run = RunSettings(workers=least, most_workers=most)
    found = choose_workers(resources, run, 100, lambda _: 80 * 10**9)
    assert (found.workers, found.gpus, found.most) == expected


@pytest.mark.parametrize("most", [0, 32])
def test_workers_that_a_cluster_is_asked_for_have_a_gpu_each(most: int) -> None:
    """It may have few of them yet, and grow."""
    run = RunSettings(address="head:6379", workers=8, most_workers=most)
    assert choose_workers(ONE_CARD, run, 100, _nobody) == Placement("cuda", 8, 1, most)
    as_many_as_fit = choose_workers(
        ONE_CARD, RunSettings(address="head:6379"), 100, {"head:6379": 80 * 10**9}.__getitem__
    )
    assert as_many_as_fit == Placement("cuda", 4, 0.25)


@pytest.mark.parametrize(("share", "gpus", "workers"), [(0.6, 3, 3), (0.4, 3, 6), (2, 5, 2), (1, 3, 3)])
def test_a_worker_lies_on_whole_gpus_or_on_one(share: float, gpus: int, workers: int) -> None:
    resources = Resources(64, gpus, 64, 64 / gpus)
    run = RunSettings(work=WorkSettings(gpus_per_worker=share))
    assert choose_workers(resources, run, 100, _nobody) == Placement("cuda", workers, share)


def test_a_worker_has_no_gpu_and_a_half() -> None:
    with pytest.raises(ValueError, match="a fraction of one GPU, or a whole number of them"):
        WorkSettings(gpus_per_worker=1.5)


@given(
    gpus=st.integers(1, 16),
    cpus_per_gpu=st.integers(0, 200),
    memory=st.integers(0, 200 * 10**9),
    workers=st.integers(0, 40),
    io_threads=st.integers(1, 8),
)
def test_no_more_workers_start_than_ray_finds_room_for(
    gpus: int, cpus_per_gpu: int, memory: int, workers: int, io_threads: int
) -> None:
    """Ray counts in ten thousandths, and a worker must lie on one GPU."""
    resources = Resources(gpus * cpus_per_gpu, gpus, gpus * cpus_per_gpu, cpus_per_gpu)
    run = RunSettings(workers=workers, work=WorkSettings(io_threads=io_threads))
    found = choose_workers(resources, run, 1000, lambda _: memory)
    on_each = 10_000 // round(found.gpus * 10_000)
    assert found.workers <= gpus * on_each
    if workers:
        assert found.workers == workers
    elif found.workers > gpus:
        assert on_each <= MOST_ON_A_GPU
        assert on_each * BYTES_ON_A_GPU <= memory
        assert on_each * 2 * io_threads <= cpus_per_gpu
        assert math.isclose(found.gpus, 1 / on_each, abs_tol=1e-4)


def test_the_memory_of_a_gpu_is_asked_for_only_where_it_decides() -> None:
    for run in (
        RunSettings(device="cpu"),
        RunSettings(workers=4),
        RunSettings(work=WorkSettings(gpus_per_worker=0.5)),
        RunSettings(work=WorkSettings(io_threads=8)),  # the CPUs feed one worker
    ):
        choose_workers(ONE_CARD, run, 100, _nobody)


def _nobody(address: str | None) -> int:
    raise AssertionError(f"the memory of a GPU was asked for, at {address}")
