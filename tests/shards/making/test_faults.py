"""Faults of a cluster, injected for real on a Ray of two nodes; the bytes are those of an undisturbed run."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shard_jobs import content

from pipeline.errors import WorkError
from pipeline.location import locate
from pipeline.ray_session import ray_session
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.counters import PHASES
from pipeline.shards.making.job import JobResult, run_job
from pipeline.shards.making.plan import plan_shards, rows_of
from pipeline.shards.making.pool import WorkerPool
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import ShardTask, WorkerSetup, build_parser
from pipeline.shards.verify import verify_folder

SETTINGS = ShardSettings(
    parser="tiles",
    settings={"seconds": 0.05},
    shard_rows=8,
    row_group_rows=4,
    max_pixels=10_000,
    low_confidence=0.6,
)
EIGHTS = SETTINGS.model_copy(update={"row_group_rows": 8})
SMALL_STORE = 80 * 1024 * 1024  # Ray's least is 75 MB


@pytest.fixture(scope="module")
def cluster(plugin_parser: Path, faults: Path) -> Iterator[Any]:
    """A head node of one CPU, to which this process is connected, and a second node of one CPU."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": SMALL_STORE}
    found = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
    found.second = found.add_node(num_cpus=1, object_store_memory=SMALL_STORE)
    yield found
    ray.shutdown()
    found.shutdown()


def run(
    image_folder: Any,
    out: Path,
    say: Callable[[str], None] = lambda _: None,
    workers: int = 2,
    settings: ShardSettings = SETTINGS,
    most_workers: int = 0,
    **work: Any,
) -> JobResult:
    run = RunSettings(workers=workers, most_workers=most_workers, work=WorkSettings(batch_size=3, **work))
    return run_job("tiny", image_folder.manifest, image_folder.folder, out, settings, run, quiet=True, say=say)


@pytest.fixture(scope="module")
def expected(cluster: Any, image_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Content of an undisturbed run."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    result = run(image_folder, out)
    assert (result.timings.workers_lost, result.timings.shards_made) == (0, 10)
    assert verify_folder(out, threads=1) == []
    return content(out)


def test_a_session_that_is_open_is_used_and_left_open(cluster: Any) -> None:
    import ray

    with ray_session(None) as resources:
        assert resources.cpus == 2
    assert ray.is_initialized()


def test_lost_workers_are_replaced_and_the_bytes_are_the_same(
    cluster: Any, expected: dict[str, bytes], image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    """One is killed, one is stopped by a signal, so that it can neither work nor end."""
    for fault in ("killed", "frozen"):
        (faults / fault).touch()
    result = run(image_folder, tmp_path / "out", shard_timeout=6, restarts=2)
    assert list(faults.iterdir()) == [], "both faults were to happen"
    assert result.timings.workers_lost == 2
    assert content(tmp_path / "out") == expected


@pytest.fixture(scope="module")
def expected_of_eights(cluster: Any, image_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Content of an undisturbed run whose shards have enough images for a worker to be suspected."""
    out = tmp_path_factory.mktemp("undisturbed") / "eights"
    assert run(image_folder, out, settings=EIGHTS).timings.shards_made == 5
    return content(out)


def test_a_worker_that_is_broken_costs_no_image(
    cluster: Any, expected_of_eights: dict[str, bytes], image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    """One by a fault of its device, one that only fails on everything."""
    for fault in ("cuda", "odd_worker"):
        (faults / fault).touch()
    remarks: list[str] = []
    result = run(image_folder, tmp_path / "out", settings=EIGHTS, restarts=2, say=remarks.append)
    assert list(faults.iterdir()) == [], "both faults were to happen"
    assert result.timings.workers_lost == 2
    assert len(remarks) == 2
    assert any("CUDA error: an illegal memory access was encountered" in remark for remark in remarks)
    assert any("images failed alike (tiles: RuntimeError: the worker is not itself)" in remark for remark in remarks)
    assert content(tmp_path / "out") == expected_of_eights


def test_images_that_fail_in_masses_are_quarantined_after_a_second_worker_and_tried_again_by_the_next_run(
    cluster: Any, expected_of_eights: dict[str, bytes], image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    paths = image_folder.manifest["path"].to_pylist()
    (faults / "refuse").write_text("\n".join(paths[16:24]))  # a shard
    try:
        result = run(image_folder, tmp_path / "out", settings=EIGHTS, workers=1, restarts=1)
    finally:
        (faults / "refuse").unlink()
    assert result.timings.workers_lost == 1
    assert result.record.counts["images"] + result.record.counts["quarantined"] == 40
    assert result.record.counts["reasons"]["parser_failed"] > 4
    result = run(image_folder, tmp_path / "out", settings=EIGHTS, workers=1)
    assert (result.timings.shards_made, result.timings.workers_lost) == (1, 0)
    assert content(tmp_path / "out") == expected_of_eights


def shard_workers(cluster: Any) -> list[int]:
    """Processes of the cluster's shard workers, dying ones included."""
    raylets = {info.process.pid for node in cluster.list_all_nodes() for info in node.all_processes["raylet"]}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title, status = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        parent = int(status.rpartition(")")[2].split()[1])
        if parent in raylets and title.startswith(b"ray::ShardWorker"):
            found.append(int(folder.name))
    return found


def wait_until(is_so: Callable[[], bool], remarks: Sequence[str] = ()) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, remarks
        time.sleep(0.02)


def hold_all(faults: Path, folder: Path) -> Path:
    """Let all workers wait within their first batch; a folder with a file of each that does."""
    waiting = folder / "waiting"
    waiting.mkdir()
    (faults / "wait").write_text(str(waiting))
    return waiting


def wait_for_the_end_of_workers(cluster: Any) -> None:
    """A worker that is being stopped may still begin a batch, and would take the next fault upon itself."""
    wait_until(lambda: not shard_workers(cluster))


def test_what_cannot_go_on_is_a_clear_error_and_one_worker_finishes_to_the_same_bytes(
    cluster: Any, expected: dict[str, bytes], image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    shard = r"part-000\d\d-of-00010.parquet failed: "
    for fault, message in (
        ("crash", f"{shard}its worker died again and again"),
        ("hang", f"{shard}.*parse.shard_timeout, 2 s"),
        ("storage", f"{shard}s3://bucket/x: the server is too busy"),
        ("build", "^no worker can be started: out of memory: building the parser tiles: .*fewer --workers.* are kept"),
        ("contract", "parser tiles gave 0 results"),
        (
            "cuda",
            f"{shard}no worker could make it, .*parser tiles: CUDA error: .*so the same command goes on from them$",
        ),
        (
            "memory",
            f"{shard}no worker could make it, .*out of memory: parser tiles, .* 2.00 GiB more .*fewer --workers",
        ),
    ):
        (faults / fault).write_text(str(os.getpid()))
        with pytest.raises(WorkError, match=message) as raised:
            run(image_folder, tmp_path / "out", workers=1, shard_timeout=2 if fault == "hang" else 0, restarts=0)
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "out" / "_record.json").exists()
        wait_for_the_end_of_workers(cluster)
    (faults / "storage").touch()  # and now it may be asked again
    result = run(image_folder, tmp_path / "out", workers=1, restarts=1)
    assert list(faults.iterdir()) == []
    assert (result.timings.workers, result.timings.workers_lost) == (1, 0)
    assert content(tmp_path / "out") == expected


def test_a_full_disk_is_a_clear_error_and_the_next_run_goes_on(
    cluster: Any, expected: dict[str, bytes], image_folder: Any, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(len(data) for data in expected.values()) * 2 // 3
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        with pytest.raises(WorkError, match="No space left on device; shards that are committed are kept"):
            run(image_folder, disk / "out")
        names = sorted(path.name for path in (disk / "out").iterdir())
        committed = [name for name in names if name.startswith("part-")]
        assert committed
        assert "_record.json" not in names
        assert all((disk / "out" / name).read_bytes() == expected[name] for name in committed)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        result = run(image_folder, disk / "out")
        assert result.timings.shards_reused >= len(committed), "a worker that was being stopped may commit one more"
        assert content(disk / "out") == expected
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def counted(cluster: Any) -> dict[str, float]:
    """The counters for the data set ``counted``, summed over the workers, by name and phase or reason.

    They are read where Prometheus reads them: at each node's own endpoint.
    """
    found: Counter[str] = Counter()
    for node in cluster.list_all_nodes():
        address = f"http://{node.node_ip_address}:{node.metrics_export_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            one = re.fullmatch(r"ray_ccaf_parse_(\w+)_total\{(.*)\} (\S+)", line)
            if one is not None and 'dataset="counted"' in one[2] and 'parser="tiles"' in one[2]:
                kind = re.search(r'(?:phase|reason)="(\w+)"', one[2])
                found[f"{one[1]} {kind[1]}" if kind else one[1]] += float(one[3])  # type: ignore[assignment]
    return dict(found)


def test_ray_shows_what_workers_count(
    cluster: Any, image_folder: Any, expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert run(image_folder, tmp_path / "out").timings.shards_made == 10
    manifest = image_folder.manifest
    _, provenance = bind_content("tiny", manifest, SETTINGS, build_parser(SETTINGS, "cpu"))
    provenance = replace(provenance, dataset="counted")  # the label that tells these from the workers of other tests
    places = locate(image_folder.folder), locate(tmp_path / "out")
    setup = WorkerSetup(SETTINGS, provenance, *places, 1, WorkSettings(batch_size=3))
    specs = plan_shards(manifest.num_rows, SETTINGS.shard_rows, SETTINGS.row_group_rows)
    tasks = (ShardTask(spec.name, rows_of(manifest, spec)) for spec in specs)
    with closing(WorkerPool(setup, 2, 0, 0)) as pool:
        entries = [entry for _, entry in pool.run("make", tasks, lambda _: None)]
        deadline = time.monotonic() + 60  # Ray reports every ten seconds
        wanted = {"images": float(sum(entry.rows for entry in entries))}
        wanted |= {f"quarantined {reason}": float(n) for reason, n in Counter(image_folder.bad.values()).items()}
        found: dict[str, float] = {}
        while wanted.items() - found.items():
            assert time.monotonic() < deadline, (wanted, found)
            time.sleep(0.2)
            found = counted(cluster)
    assert {name for name in found if name not in wanted} == {f"seconds {phase}" for phase in PHASES}
    assert all(found[f"seconds {phase}"] > 0 for phase in PHASES)
    assert content(tmp_path / "out").keys() == expected.keys()


def test_a_pool_grows_with_the_cluster_and_shrinks_when_nodes_go_or_are_asked_to(
    cluster: Any, expected: dict[str, bytes], image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    """It grows to both nodes of the cluster and to two more; one of these goes, with its shards; one is to leave."""
    remarks: list[str] = []
    waiting = hold_all(faults, tmp_path)
    with ThreadPoolExecutor(1) as beside:  # only the main thread can add nodes
        job = beside.submit(run, image_folder, tmp_path / "out", workers=1, most_workers=8, say=remarks.append)
        try:
            wait_until(lambda: len(shard_workers(cluster)) == 2, remarks)
            nodes = [cluster.add_node(num_cpus=1, object_store_memory=SMALL_STORE) for _ in range(2)]
            wait_until(lambda: len(shard_workers(cluster)) == len(list(waiting.iterdir())) == 4, remarks)
            cluster.remove_node(nodes[0], allow_graceful=False)
            wait_until(lambda: len(shard_workers(cluster)) == 3, remarks)
            node = ["--address", cluster.address, "--node-id", nodes[1].node_id, "--deadline-remaining-seconds", "60"]
            why = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"]
            command = [str(Path(sys.executable).parent / "ray"), "drain-node", *node, *why]
            subprocess.run(command, check=True, capture_output=True)
            wait_until(lambda: bool(remarks), remarks)
        finally:
            (faults / "wait").unlink()  # until now nobody finished anything
        result = job.result(timeout=120)
    cluster.remove_node(nodes[1])
    assert remarks == ["a machine is asked to leave: its 1 worker(s) finish what they have"]
    assert (result.timings.workers, result.timings.workers_lost) == (4, 1)
    assert content(tmp_path / "out") == expected


def test_a_node_that_goes_takes_no_shard_with_it(
    cluster: Any, expected: dict[str, bytes], image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    """Nobody finishes anything until the node is gone, however long that takes."""
    wait_for_the_end_of_workers(cluster)
    waiting = hold_all(faults, tmp_path)
    with ThreadPoolExecutor(1) as beside:
        job = beside.submit(run, image_folder, tmp_path / "out")
        try:
            wait_until(lambda: len(shard_workers(cluster)) == len(list(waiting.iterdir())) == 2)
            cluster.remove_node(cluster.second, allow_graceful=False)
            wait_until(lambda: len(shard_workers(cluster)) == 1)
        finally:
            (faults / "wait").unlink()
        result = job.result(timeout=120)
    assert result.timings.workers_lost >= 1
    assert content(tmp_path / "out") == expected


def test_workers_that_the_memory_monitor_kills_are_given_up_and_the_others_finish(
    cluster: Any, expected: dict[str, bytes], image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    """The last test: the second node is one where Ray finds the memory full, always."""
    full = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}
    cluster.add_node(num_cpus=1, object_store_memory=SMALL_STORE, env_vars=full)
    remarks: list[str] = []

    def say(text: str) -> None:
        remarks.append(text)
        if "memory" in text:
            (faults / "wait").unlink(missing_ok=True)

    (faults / "wait").touch()
    result = run(image_folder, tmp_path / "out", restarts=1, say=say)
    assert any(text.startswith("a worker cannot be started") for text in remarks)
    assert result.timings.workers_lost >= 1
    assert content(tmp_path / "out") == expected
