"""Jobs on a real Ray of two CPUs."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, WorkError
from pipeline.shards.cluster import ray_session
from pipeline.shards.job import JobResult, run_job
from pipeline.shards.plan import ParseSettings
from pipeline.shards.run import RunSettings
from pipeline.shards.verify import verify_folder

SETTINGS = ParseSettings("tiles", {"seconds": 0.01}, None, "white", 0, False, 8, 4, 10_000, 0.02, 0.6)


def run(image_folder: Any, out: Path, **run_settings: Any) -> JobResult:
    run = RunSettings(**run_settings)
    return run_job("tiny", image_folder.manifest, image_folder.folder, out, SETTINGS, run, quiet=True)


def content(folder: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    record = json.loads(files["_record.json"])
    del record["timings"]
    return {**files, "_record.json": json.dumps(record, sort_keys=True).encode()}


@pytest.mark.usefixtures("local_ray")
def test_one_worker_and_two_of_which_one_crashes_give_the_same_bytes(
    image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    (faults / "crash").touch()
    two = run(image_folder, tmp_path / "two", workers=2, batch_size=3)
    assert not (faults / "crash").exists(), "a worker was to crash"
    one = run(image_folder, tmp_path / "one", workers=1, threads=2)
    assert (one.timings.workers, two.timings.workers) == (1, 2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert verify_folder(tmp_path / "one", threads=2) == []


@pytest.mark.usefixtures("local_ray")
def test_a_worker_that_cannot_go_on_is_a_clear_error_and_the_next_run_finishes(
    image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    (faults / "crash").touch()
    with pytest.raises(WorkError, match=r"part-0000\d-of-00010.parquet failed: its worker died again and again"):
        run(image_folder, tmp_path / "out", workers=1, restarts=0)
    (faults / "contract").touch()
    with pytest.raises(WorkError, match="parser tiles gave 0 results"):
        run(image_folder, tmp_path / "out", workers=1)
    assert run(image_folder, tmp_path / "out", workers=2).record.counts["images"] == 33


@pytest.mark.usefixtures("local_ray")
def test_a_store_that_does_not_answer_once_is_asked_again(image_folder: Any, faults: Path, tmp_path: Path) -> None:
    (faults / "storage").touch()
    with pytest.raises(WorkError, match=r"part-0000\d-of-00010.parquet failed: s3://bucket/x: the server is too busy"):
        run(image_folder, tmp_path / "out", workers=1, restarts=0)
    (faults / "storage").touch()
    result = run(image_folder, tmp_path / "out", workers=1)
    assert not (faults / "storage").exists()
    assert (result.record.counts["images"], result.timings.workers_lost) == (33, 0)


@pytest.mark.usefixtures("local_ray")
def test_an_open_session_is_used_and_left_open() -> None:
    import ray

    with ray_session(None) as resources:
        assert resources.cpus == 2
    assert ray.is_initialized()


def test_a_ray_client_address_is_refused() -> None:
    with pytest.raises(InputError, match="Ray Client is not supported"), ray_session("ray://127.0.0.1:10001"):
        pass
