"""The parse command: killed, interrupted, resumed; what it refuses; what it says. Real Ray where it matters."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from parse_job import PLUGIN, Dataset, make_in_this_process, wait_for_shards, write_dataset

from pipeline.config.program import program_digest
from pipeline.datasets.catalog import load_facts, read_dataset
from pipeline.datasets.manifest import write_manifest
from pipeline.shards.reader import ShardReader
from stages.cli import run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def cluster_address() -> Iterator[str]:
    """A Ray cluster that runs on its own, with the test parser on its workers' path."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PLUGIN))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        yield cluster.address
        cluster.shutdown()


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def read_reused(process: "subprocess.Popen[str]") -> int:
    """Wait until the run says how many shards it reuses."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("reusing"):
            return int(line.split()[1])
    raise AssertionError("nothing was reused")


@pytest.mark.usefixtures("plugin")
def test_killed_then_interrupted_then_finished(dataset: Dataset, cluster_address: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = dataset.start(out, "--workers", "1", "--address", cluster_address)
    wait_for_shards(killed, out, 2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (out / "_record.json").exists()

    interrupted = dataset.start(out, "--workers", "1", "--address", cluster_address)
    reused = read_reused(interrupted)  # workers that outlive their driver may have committed one more
    assert reused >= 2
    wait_for_shards(interrupted, out, reused + 1)
    os.killpg(interrupted.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    stopped = time.monotonic()
    _, remarks = interrupted.communicate(timeout=60)
    assert time.monotonic() - stopped < 15
    assert interrupted.returncode == 130
    assert "shards are committed" in remarks
    assert "run the same command again" in remarks
    assert "Traceback" not in remarks
    assert not (out / "_record.json").exists()

    terminated = dataset.start(out, "--workers", "1", "--address", cluster_address)
    wait_for_shards(terminated, out, read_reused(terminated) + 1)
    terminated.send_signal(signal.SIGTERM)  # as ray job stop and batch systems do
    _, remarks = terminated.communicate(timeout=60)
    assert terminated.returncode == 143, remarks
    assert "terminated; run the same command again" in remarks

    committed = len(list(out.glob("part-*.parquet")))
    finished = dataset.start(out, "--workers", "2", "--json", "--address", cluster_address)
    output, remarks = finished.communicate(timeout=120)
    assert finished.returncode == 0, remarks
    result = json.loads(output)
    assert result["timings"]["shards_reused"] == committed
    assert result["timings"]["shards_made"] == 15 - committed
    assert result["counts"]["reasons"] == {"empty": 1, "not_an_image": 1}
    assert f"shards, quarantine.parquet and _record.json -> {out}" in remarks
    assert f"next: ccaf-pipeline train --shards {out}" in remarks

    make_in_this_process(dataset, tmp_path / "expected")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "expected").iterdir()}
    assert {path.name: path.read_bytes() for path in out.glob("*part-*")} == expected
    reader = ShardReader(out)
    assert len(reader.select("train")) == 19
    assert len(reader.select("query")) == 9


def raylet_of(process: "subprocess.Popen[str]") -> int:
    """The process of the local Ray that a run has started."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if b"/raylet/raylet\0" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("there is no raylet")


@pytest.mark.usefixtures("plugin")
def test_the_end_of_a_local_ray_ends_the_run_soon_and_the_same_command_goes_on(
    dataset: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    slow = ("--workers", "1", "--set", "parse.settings.seconds=0.4")
    broken = dataset.start(out, *slow)
    wait_for_shards(broken, out, 2)
    os.kill(raylet_of(broken), signal.SIGKILL)
    killed = time.monotonic()
    _, remarks = broken.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert broken.returncode == 1
    assert "error: Ray has ended on this machine (raylet died)" in remarks
    assert "Traceback" not in remarks
    done = dataset.start(out, *slow)
    assert read_reused(done) >= 2
    done.communicate(timeout=120)
    assert done.returncode == 0


@pytest.mark.usefixtures("plugin")
def test_too_many_bad_images_fail_after_everything_was_written(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    out = tmp_path / "out"
    assert run(dataset.arguments(out, "--max-bad", "0.06", "--set", "parse.settings={}")) == 1
    captured = capsys.readouterr()
    assert "28 images in 15 shards" in captured.out
    assert "quarantined 2 (6.67%): empty 1, not_an_image 1" in captured.out
    assert "  empty: 1 image, such as train/04.png: the file has no bytes\n" in captured.out
    assert "  not_an_image: 1 image, such as query/29.png: no known image format\n" in captured.out
    assert "2 of 30 images were quarantined (6.7%; the limit parse.max_bad is 6%)" in captured.err
    assert "next:" not in captured.err
    assert (out / "_record.json").is_file()
    assert pq.read_table(out / "quarantine.parquet")["image_id"].to_pylist() == ["query/29.png", "train/04.png"]

    assert run(["parse", "--params", str(dataset.params), "--verify", "--out", str(out)]) == 0
    assert "15 shards, 28 images" in capsys.readouterr().out
    (out / "part-00003-of-00015.parquet").unlink()
    assert run(["parse", "--params", str(dataset.params), "--verify", "--out", str(out), "--json"]) == 1
    captured = capsys.readouterr()
    assert "part-00003-of-00015.parquet: cannot be read" in json.loads(captured.out)["problems"][0]
    assert "makes damaged shards again" in captured.err


@pytest.mark.usefixtures("plugin")
def test_plan_starts_nothing(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(dataset.arguments(tmp_path / "out", "--plan", "--json", "--workers", "2", "--limit", "7")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {name: plan[name] for name in ("images", "shards", "smallest", "largest", "workers")} == {
        "images": 7, "shards": 4, "smallest": 1, "largest": 2, "workers": 2,
    }  # fmt: skip
    assert (plan["parser"], plan["weights_sha256"], plan["label_scheme"]) == ("tiles", "w1", "lip")
    assert plan["clothes_labels"][:2] == ["upper-clothes", "dress"]
    assert (plan["device"], plan["present"]) == ("cpu", 0)
    assert run(dataset.arguments(tmp_path / "out", "--plan")) == 0
    shown = capsys.readouterr().out
    assert "parser    tiles, weights w1, on cpu" in shown
    assert "labels    lip; clothes are upper-clothes, dress, coat" in shown
    assert "shards    15 of 2 to 2 images" in shown
    assert "memory    about " in shown
    assert not (tmp_path / "out").exists()
    for workers, text in (
        ("2:9", "workers   2, growing to 9 (as asked)"),
        ("2:99", "workers   2, growing to 15 (as asked)"),
    ):
        assert run(dataset.arguments(tmp_path / "out", "--plan", "--workers", workers)) == 0
        assert text in capsys.readouterr().out
    assert run(dataset.arguments(tmp_path / "out", "--plan", "--workers", "8:4")) == 2
    assert "--workers 8:4: the most number is below the least; did you mean 4:8?" in capsys.readouterr().err
    import ray

    assert not ray.is_initialized()


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("options", "workers", "shown"),
    [
        ([], ("cuda", 2, 1.0), "workers   2 (by the GPUs of this machine, 1 GPU each: by CPUs and memory)"),
        (["parse.gpus_per_worker=0.25"], ("cuda", 8, 0.25), "workers   8 (by the GPUs of this machine, 0.25 GPU each)"),
        (
            ["device=cuda:1", "parse.gpus_per_worker=0.5"],
            ("cuda:1", 2, 0.0),
            "workers   2 (by the device cuda:1)",
        ),
        (["device=cpu", "threads=10000"], ("cpu", 1, 0.0), "workers   1 (by the CPUs of this machine)"),
    ],
)
def test_the_plan_shows_the_workers_that_a_run_on_gpus_would_start(
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    workers: tuple[str, int, float],
    shown: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)  # and none of them may be touched
    arguments = ["--plan", "--set", "device=auto", *(part for option in options for part in ("--set", option))]
    assert run(dataset.arguments(tmp_path / "out", *arguments, "--json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["device"], plan["workers"], plan["gpus_per_worker"]) == workers
    assert run(dataset.arguments(tmp_path / "out", *arguments)) == 0
    assert shown in capsys.readouterr().out


@pytest.mark.usefixtures("plugin")
def test_the_plan_for_a_cluster_leaves_the_workers_to_it(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--plan", "--address", "head:6379", "--set", "device=auto"]
    assert run(dataset.arguments(tmp_path / "out", *arguments)) == 0
    text = capsys.readouterr().out
    assert "workers   as many as the cluster has room for" in text
    assert "on auto, decided by the cluster at head:6379" in text
    assert run(dataset.arguments(tmp_path / "out", *arguments, "--workers", "3", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["workers"] == 3


@pytest.mark.usefixtures("plugin")
def test_the_plan_names_the_fingerprint_and_what_is_there(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_in_this_process(dataset, tmp_path / "out")
    metadata = pq.read_schema(tmp_path / "out" / "part-00000-of-00015.parquet").metadata
    fingerprint = metadata[b"ccaf.fingerprint"].decode()
    (tmp_path / "out" / "_plan.json").write_text(json.dumps({"fingerprint": fingerprint}))
    assert run(dataset.arguments(tmp_path / "out", "--plan", "--json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["fingerprint"] == fingerprint
    assert (plan["present"], plan["present_match"]) == (15, True)
    assert run(dataset.arguments(tmp_path / "out", "--plan", "--set", "parse.fill=black")) == 0
    assert "(15 of other content, which only --overwrite replaces, are there already)" in capsys.readouterr().out


@pytest.mark.usefixtures("plugin")
def test_overwrite_replaces_shards_of_another_version_of_the_parser(
    dataset: Dataset, cluster_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = dataset.arguments(tmp_path / "out", "--workers", "1", "--limit", "8", "--address", cluster_address)
    path = tmp_path / "out" / "_plan.json"
    assert run(arguments) == 0
    plan = json.loads(path.read_text())
    assert plan["program"] == program_digest("shards", plan["content"]["parser"])
    path.write_text(json.dumps({**plan, "program": "of an earlier version"}))
    capsys.readouterr()
    assert run([*arguments, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["timings"]["shards_reused"] == 0
    assert json.loads(path.read_text()) == plan


@pytest.mark.usefixtures("plugin")
def test_a_manifest_and_its_images_can_be_named(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = read_dataset(load_facts(str(dataset.facts)), dataset.root / "little")
    write_manifest(listing.manifest.slice(0, 5), tmp_path / "manifest.parquet")
    arguments = dataset.arguments(
        tmp_path / "out", "--plan", "--json", "--manifest", str(tmp_path / "manifest.parquet")
    )
    for more in ([], ["--images", str(dataset.root / "little")]):
        assert run([*arguments, *more]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 5
    assert run([*arguments, "--images", str(tmp_path / "nowhere")]) == 2
    assert "name it by --images" in capsys.readouterr().err


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--images", "."], "--images goes with --manifest"),
        (["--manifest", "none.parquet"], "manifest not found: none.parquet"),
        (["--dataset", "nobody"], "data set 'nobody' is not known"),
        (["--root", "/nowhere"], "there is no folder /nowhere/little"),
        (["--set", "parse.parser=schq"], "unknown parser 'schq'; known: "),
        (["--set", "parse.settings={depth: 3}"], "settings of the parser tiles: depth is not one of its settings"),
        (["--set", "parse.clothes_labels=[sock]"], "label scheme lip has no label sock"),
        (["--set", "parse.fill=pink"], "parse.fill = 'pink'"),
        (["--address", "ray://127.0.0.1:1"], "Ray Client is not supported"),
        (["--limit", "0"], "--limit"),
        (["--max-bad", "1.5"], "--max-bad"),
        (["--root", "s3://bucket/data"], "s3://bucket/data is not local, and only local folders are listed"),
        (["--plan", "--set", "parse.parser=schq"], "unknown parser 'schq'; known: "),
        (["--plan", "--set", "parse.clothes_labels=[sock]"], "label scheme lip has no label sock"),
        (["--plan", "--set", "device=cuda:7"], "device 'cuda:7' cannot be used here"),
        (["--verify"], "no finished shards in"),
        (["--verify", "--plan"], "--verify only reads finished shards"),
        (["--verify", "--overwrite"], "--verify only reads finished shards"),
        (["--verify", "--limit", "3", "--address", "auto"], "leave out --limit, --address"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert run(dataset.arguments(tmp_path / "out", "--quiet", *more)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.usefixtures("plugin")
def test_shards_of_other_parameters_are_refused(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_in_this_process(dataset, tmp_path / "out")
    (tmp_path / "out" / "_plan.json").write_text(json.dumps({"fingerprint": "0", "content": {"fill": 3}}))
    assert run(dataset.arguments(tmp_path / "out", "--quiet")) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_lite_on_real_images(real_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded parser on real pedestrians: every shard verifies, and most images have clothes."""
    from pipeline.parsing.lite.checkpoint import PACKAGED_WEIGHTS

    if not PACKAGED_WEIGHTS.is_file():
        pytest.skip("the embedded parser's weights are not in the package")
    out = tmp_path / "out"
    code = run(
        ["parse", "--dataset", "pku_reid_74", "--root", str(real_images), "--out", str(out), "--limit", "12",
         "--params", os.devnull, "--workers", "1", "--json"]
    )  # fmt: skip
    assert code == 0
    counts: dict[str, Any] = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["images"], counts["quarantined"]) == (12, 0)
    assert set(counts["splits"]) == {"gallery", "query", "train"}
    reader = ShardReader(out)
    assert reader.metadata.parser == "lite"
    assert (reader.ids.clothes_fraction > 0.05).mean() > 0.8
    assert run(["parse", "--dataset", "pku_reid_74", "--params", os.devnull, "--out", str(out), "--verify"]) == 0
