"""Stage 2 in two real Ray Train workers (gloo) is stage 2 in one process, also when a worker is killed on the way."""

import contextlib
import csv
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.trainer import workers
from stages import encoder_run
from stages.cli import run

STEPS = 20
MODEL = [
    "--set", "model.name=walker-clip", "--set", "model.stem=conv", "--set", "model.image_size=[64,32]",
]  # fmt: skip
SETTINGS = [  # one step an epoch, the paper's learning rate: Adam makes much of rounding where rates are large
    "--set", "encoder.learning_rate=5.0e-6",
    "--set", f"encoder.epochs={STEPS}", "--set", "encoder.identities_per_batch=4",
    "--set", "encoder.images_per_identity=8", "--set", "training.save_steps=5",
]  # fmt: skip


def train(dataset, folder: Path, out: str, stage: str, *more: str) -> int:
    return run([
        "train", "--stage", stage, "--params", str(dataset.params), "--shards", str(dataset.shards),
        "--prompts", str(folder / "prompts"), "--out", str(folder / out), "--quiet",
        *MODEL, *SETTINGS, *more,
    ])  # fmt: skip


def totals(folder: Path) -> list[float]:
    with (folder / "curves.csv").open() as stream:
        return [float(row["total"]) for row in csv.DictReader(stream)]


def features(dataset, checkpoint: Path) -> np.ndarray:
    out = checkpoint.with_suffix(".parquet")
    words = ["extract", "--params", str(dataset.params), "--shards", str(dataset.shards), "--quiet", *MODEL]
    assert run([*words, "--checkpoint", str(checkpoint), "--out", str(out)]) == 0
    return np.stack(pq.read_table(out)["feature"].to_pylist())


def assert_same(dataset, ours: Path, theirs: Path) -> None:
    assert len(totals(ours)) == STEPS
    assert totals(theirs)[0] - totals(theirs)[-1] > 0.05, "the training did not do anything"
    assert totals(ours) == pytest.approx(totals(theirs), rel=1e-5, abs=0)
    np.testing.assert_allclose(features(dataset, ours), features(dataset, theirs), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def alone(figures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    assert train(figures, folder, "one", "prompts") == 0
    assert train(figures, folder, "one", "encoder") == 0
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray cluster of two nodes that runs on its own and does not look for code in this tree."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        yield cluster.address
        cluster.shutdown()


def test_two_workers_on_two_nodes_equal_one_process(figures, alone, address, monkeypatch):
    monkeypatch.chdir(figures.facts.parent)
    relative = ("--dataset", figures.facts.name)
    assert train(figures, alone, "two", "encoder", "--workers", "2", "--address", address, *relative) == 0
    assert_same(figures, alone / "two", alone / "one")
    assert not (alone / "two.partial").exists()


def dies_once(config, ranks, device, report) -> None:
    """Stage 2, in which the second worker is killed after step 12 of the first attempt."""
    tick, marker = report.tick, Path(config["out"]).with_name("killed")

    def killing_tick(epoch, done, expected, loss):
        tick(epoch, done, expected, loss)
        if ranks.rank == 1 and done == 12 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    report.tick = killing_tick
    encoder_run._worker(config, ranks, device, report)


def test_training_goes_on_when_a_worker_is_killed(figures, alone, address, monkeypatch):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    said = []
    monkeypatch.setattr(encoder_run.Console, "say", lambda _, text: said.append(text))
    monkeypatch.setattr(encoder_run, "_worker", dies_once)
    checks = ("--set", "training.evaluate_every=7")  # the best weights are in states that the second rank never sees
    assert train(figures, alone, "killed-once", "encoder", "--workers", "2", "--address", address, *checks) == 0
    assert (alone / "killed-once" / "best").is_dir()
    assert (alone / "killed").exists()
    assert any("going on from" in text and "step-0000000" in text for text in said)
    assert_same(figures, alone / "killed-once", alone / "one")
    weights = "weights.safetensors"
    assert (alone / "killed-once" / weights).read_bytes() == (alone / "two" / weights).read_bytes()


def test_a_batch_that_grows_with_the_workers_is_recorded_as_what_it_became(figures, alone, address):
    """Two workers with two identities each are two that share four, to the last byte."""
    words = ("--workers", "2", "--address", address, "--set", "encoder.identities_per_batch=2")
    assert train(figures, alone, "grown", "encoder", *words, "--set", "encoder.batch_per_worker=true") == 0
    assert_same(figures, alone / "grown", alone / "one")
    record = json.loads((alone / "grown" / "record.json").read_text())
    encoder = record["parameters"]["encoder"]
    assert (record["workers"], encoder["identities_per_batch"], encoder["batch_per_worker"]) == (2, 4, False)
    for name in ("weights.safetensors", "config.json"):
        assert (alone / "grown" / name).read_bytes() == (alone / "two" / name).read_bytes()


def test_workers_that_are_interrupted_keep_their_state_and_end_soon(figures, alone, monkeypatch, capsys):
    """The interrupt comes to the command alone, as from a batch system."""
    ticks = []

    def interrupt(folder, what, tell, quiet):
        def wait() -> None:
            progress = folder / "progress.json"
            while not progress.exists() or json.loads(progress.read_text()).get("done", 0) < 3:
                time.sleep(0.02)
            ticks.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, daemon=True).start()
        return contextlib.nullcontext()

    monkeypatch.setattr(workers, "watch", interrupt)
    words = ("--workers", "2", "--set", "training.save_steps=0", "--set", "encoder.epochs=2000")
    assert train(figures, alone, "stopped", "encoder", *words) == 143
    assert time.monotonic() - ticks[0] < 20
    assert capsys.readouterr().err.splitlines()[-1] == "terminated; run the same command again to go on"
    assert len(list((alone / "stopped.partial").glob("step-*"))) == 1


def test_a_batch_that_workers_cannot_share_is_refused_before_ray_starts(figures, alone, capsys):
    assert train(figures, alone, "three", "encoder", "--workers", "3") == 2
    assert "identities_per_batch = 4 cannot be shared out to 3 workers" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_refused_before_stage_1(figures, tmp_path, capsys):
    assert train(figures, tmp_path, "late", "all", "--workers", "2", "--address", "http://127.0.0.1:8265") == 2
    assert "is the address of a dashboard" in capsys.readouterr().err
    assert not (tmp_path / "prompts").exists()
