"""A Ray cluster whose environment has no ccaf-pipeline, and data in an object store: runs by address and as a job."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from parse_job import PLUGIN, REPOSITORY, Dataset, make_in_this_process, wait_for_shards, write_dataset

from pipeline.config import load_parameters
from pipeline.datasets.catalog import load_facts, read_dataset
from pipeline.datasets.manifest import write_manifest
from pipeline.location import Location, locate
from pipeline.storage import atomic_output, list_names, read_bytes
from stages.cli import app

WITHOUT_PACKAGE = """
import os
import sys
from importlib.machinery import PathFinder


class BroughtAlong:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in ("pipeline", "stages", "data_manifests"):
            return None
        folders = [entry for entry in map(os.path.abspath, sys.path) if "runtime_resources" in entry.split(os.sep)]
        spec = PathFinder.find_spec(name, folders)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return spec


sys.meta_path.insert(0, BroughtAlong)
"""
"""Read by every Python process of the cluster when it starts: ccaf-pipeline is found where Ray unpacks what a run
brings along, and nowhere else, however it is installed. All other modules are found as ever."""


def free_port() -> int:
    """Ray's own numbers for a job server are fixed ones, which another cluster on this machine may have."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def expected(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of every shard."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        make_in_this_process(dataset, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def remote_data(dataset: Dataset, s3_bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Location:
    """A folder in the object store with the images and their manifest."""
    folder = locate(s3_bucket) / "little"
    for path in (dataset.root / "little").glob("*.png"):
        with atomic_output(folder / "images" / path.name) as temporary:
            shutil.copyfile(path, temporary)
    manifest = tmp_path_factory.mktemp("manifest") / "m.parquet"
    write_manifest(read_dataset(load_facts(str(dataset.facts)), dataset.root / "little").manifest, manifest)
    with atomic_output(folder / "manifest.parquet") as temporary:
        shutil.copyfile(manifest, temporary)
    return folder


@pytest.fixture(scope="module")
def bare_cluster(s3_bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head node with a job server, in whose environment the package is not."""
    from ray.cluster_utils import Cluster

    hook = tmp_path_factory.mktemp("without-package")
    (hook / "sitecustomize.py").write_text(WITHOUT_PACKAGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{hook}{os.pathsep}{PLUGIN}")
        # a job's `python` is the first on the cluster's path
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        for name in ("pipeline", "stages"):
            code = f"import numpy, ray.dashboard; print('all else is there'); import {name}"
            found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
            assert found.stdout == "all else is there\n", found.stderr
            assert f"No module named {name!r}" in found.stderr
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 2, "include_dashboard": True}
        head |= {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}
        # Ray gives a job the cluster that was last started in its folder: in the common one that may be another test's
        # a short path, for sockets lie below it; processes of Ray that are ending may still write there
        with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
            patch.setenv("RAY_TMPDIR", folder)
            cluster = Cluster(initialize_head=True, head_node_args=head)
            yield cluster
            cluster.shutdown()


def shards(folder: Location) -> dict[str, bytes]:
    return {name: read_bytes(folder / name) for name in list_names(folder, "part-*")}


def test_a_run_from_store_to_store_killed_and_finished_gives_the_bytes_of_a_local_run(
    bare_cluster: Any, dataset: Dataset, remote_data: Location, expected: dict[str, bytes]
) -> None:
    out = remote_data / "shards"
    places = ["--manifest", f"{remote_data}/manifest.parquet", "--images", f"{remote_data}/images"]
    # the environment of the test leads to the object store
    environment = {**dataset.environment, **{name: os.environ[name] for name in os.environ if name.startswith("AWS_")}}
    remote = Dataset(dataset.root, dataset.facts, dataset.params, environment)

    killed = remote.start(out, *places, "--workers", "1", "--address", bare_cluster.address)
    wait_for_shards(killed, out, 2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert list_names(out, "_record.json") == []

    finished = remote.start(out, *places, "--workers", "2", "--json", "--address", bare_cluster.address)
    output, remarks = finished.communicate(timeout=120)
    assert finished.returncode == 0, remarks
    timings = json.loads(output)["timings"]
    assert timings["shards_reused"] >= 2
    assert timings["shards_reused"] + timings["shards_made"] == 15
    assert shards(out) == expected
    assert list_names(out) == ["_plan.json", "_record.json", *sorted(expected), "quarantine.parquet"]

    verified = remote.start(out, "--verify")
    output, remarks = verified.communicate(timeout=60)
    assert (verified.returncode, "no problems" in output) == (0, True), remarks

    listed = remote.start(out, "--root", f"{remote_data}/images")
    _, remarks = listed.communicate(timeout=60)
    assert listed.returncode == 2
    assert "make a manifest (ccaf-pipeline manifest)" in remarks


def test_a_submitted_job_brings_its_code_along(
    bare_cluster: Any, dataset: Dataset, expected: dict[str, bytes], tmp_path: Path
) -> None:
    command = [
        *(str(Path(sys.executable).parent / "ray"), "job", "submit"),
        *("--address", f"http://{bare_cluster.webui_url}", "--working-dir", str(REPOSITORY)),
        *("--runtime-env-json", json.dumps({"excludes": ["/tests", "/benchmarks", "/data/", "/artifacts", "/.venv"]})),
        *("--", "python", "-m", "stages", *dataset.arguments(tmp_path / "out"), "--address", "auto", "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=dataset.root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"shards_made": 15' in done.stdout
    assert "succeeded" in done.stdout
    assert shards(locate(tmp_path / "out")) == expected


def test_the_examples_name_commands_and_options_that_exist() -> None:
    folder = REPOSITORY / "stages" / "cluster"
    job = yaml.safe_load((folder / "rayjob.yaml").read_text())
    cluster = yaml.safe_load((folder / "ray-cluster.yaml").read_text())
    assert (job["kind"], job["apiVersion"]) == ("RayJob", "ray.io/v1")
    assert cluster["head_node_type"] in cluster["available_node_types"]
    comments = " ".join(
        line.lstrip("# ").rstrip("\\ ")
        for line in (folder / "ray-cluster.yaml").read_text().splitlines()
        if line.startswith("#")
    )
    example = comments.partition("-- ccaf-pipeline ")[2].partition(" and ")[0]
    options = {name for option in typer.main.get_command(app).commands["parse"].params for name in option.opts}
    for command in (job["spec"]["entrypoint"].removeprefix("ccaf-pipeline "), example):
        words = command.split()
        assert words[0] == "parse"
        assert {word for word in words if word.startswith("--")} <= options
        load_parameters(None, [words[at + 1] for at, word in enumerate(words) if word == "--set"])
        assert load_facts(words[words.index("--dataset") + 1]).name == "prcc"
