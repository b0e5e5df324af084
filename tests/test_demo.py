"""The demo's `dvc repro` on a tiny setting: the repository's own dvc.yaml, real Ray, real DVC, every stage."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = {
    "synth": {
        "train_identities": 6,
        "test_identities": 5,
        "outfits": 2,
        "images_per_outfit": 2,
        "pretrain_images": 96,
    },
    "pretrain": {"epochs": 1, "batch_size": 32},
    "prompts": {"epochs": 2, "tokens": 2},
    "encoder": {"epochs": 1, "identities_per_batch": 3, "images_per_identity": 2},
    "evaluate": {"bootstrap": 20},
    "report": {"sheet_images": 2, "ranked_queries": 2, "ranked_depth": 3},
}


def change(path: Path, changes: dict) -> None:
    tree = yaml.safe_load(path.read_text())
    for section, values in changes.items():
        tree[section] |= values
    path.write_text(yaml.safe_dump(tree))


def repro(folder: Path, *targets: str) -> tuple[list[str], str]:
    """Run `dvc repro`; the stages it ran, and all it printed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["dvc", "repro", *targets],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    return re.findall(r"Running stage '([\w./:-]+)'", output), output


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone of the repository's files for DVC, with small numbers, reproduced once."""
    folder = tmp_path_factory.mktemp("demo")
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(REPOSITORY / name, folder / name)
    shutil.copytree(REPOSITORY / "data_manifests", folder / "data_manifests")  # its stages are not the demo's
    for name in ("pipeline", "stages"):  # what the stages depend on
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=folder, check=True)
    change(folder / "params.yaml", TINY)
    stages, output = repro(folder)
    return folder, stages, output


def test_every_stage_ran_and_left_its_artifacts(project):
    folder, stages, output = project
    expected = ["encoder", "evaluate", "inspect", "parse", "paths", "prompts", "report", "synth"]
    assert sorted(stages) == expected
    assert not (folder / "data" / "walkers-pretrain").exists()
    assert "Traceback" not in output
    artifacts = folder / "artifacts" / "walkers"
    metrics = json.loads((artifacts / "metrics.json").read_text())
    assert set(metrics["protocols"]) == {"general", "cc", "sc"}
    assert metrics["checkpoint_sha256"] == json.loads((artifacts / "encoder/config.json").read_text())["weights_sha256"]
    record = json.loads((artifacts / "shards/_record.json").read_text())
    table = list((folder / "data/walkers").glob("[!l]*/*.*g"))
    assert record["counts"]["images"] == len(table)
    for name in ("report.html", "inspect.html"):
        page = (artifacts / name).read_text()
        assert "<html" in page
        assert "http://" not in re.sub(r"http://www\.w3\.org", "", page)  # self-contained: nothing is fetched


def test_the_commands_that_the_demo_prints_at_its_end_search_the_gallery(project):
    folder, _, _ = project
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    quiet = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    made = subprocess.run(
        ["make", "--dry-run", "--file", REPOSITORY / "Makefile", "demo"],
        cwd=REPOSITORY, env=quiet, capture_output=True, text=True, check=True,
    )  # fmt: skip
    end = made.stdout.splitlines()[-1]
    printed = subprocess.run(["sh", "-c", end], cwd=folder, capture_output=True, text=True, check=True).stdout
    words = [shlex.split(line) for line in printed.splitlines() if line.startswith("  ")]
    assert [each[:2] for each in words] == [[".venv/bin/ccaf-pipeline", name] for name in ("embed", "search")]
    for each in words:
        done = subprocess.run(each, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
    gallery = {path.name for path in (folder / "data/walkers/gallery").iterdir()}
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1][0] == "rank"
    assert {line[-1] for line in lines[2:]} <= gallery
    assert len(lines) == 2 + min(10, len(gallery))
    page = (folder / "artifacts/walkers/search.html").read_text()
    assert page.count("data:image/jpeg;base64,") == len(lines) - 1


def test_a_second_run_does_nothing(project):
    folder, _, _ = project
    stages, output = repro(folder)
    assert stages == []
    assert "up to date" in output


def test_the_encoder_is_blended_and_scored_where_that_is_asked_for(project):
    folder, _, _ = project
    place = "data_manifests/blend/dvc.yaml"
    stages, _ = repro(folder, place)
    assert stages == [f"{place}:blend", f"{place}:evaluate-blended"]
    artifacts = folder / "artifacts/walkers"
    config = json.loads((artifacts / "blended/config.json").read_text())
    assert (config["blend"]["clip_weight"], config["blend"]["trained_share"]) == (0.1, 1.0)
    metrics = json.loads((artifacts / "metrics-blended.json").read_text())
    assert metrics["checkpoint_sha256"] == config["weights_sha256"]
    assert repro(folder, place)[0] == []


def test_a_clip_that_the_stages_of_pretraining_make_is_made_before_it_is_used(project):
    folder, _, _ = project
    change(folder / "params.yaml", {"model": {"pretrained": "artifacts/clip/weights.safetensors"}})
    stages, output = repro(folder)
    first = [f"data_manifests/pretrain/dvc.yaml:{name}" for name in ("synth-pretrain", "pretrain-clip")]
    assert [stage for stage in stages if stage in first] == first
    assert stages.index(first[-1]) < stages.index("prompts")
    assert set(stages) == {*first, "paths", "prompts", "encoder", "evaluate", "report"}
    assert "Traceback" not in output
    config = json.loads((folder / "artifacts/walkers/encoder/config.json").read_text())
    clip = json.loads((folder / "artifacts/clip/config.json").read_text())
    assert config["clip_sha256"] == clip["weights_sha256"]
    assert clip["images"] + clip["images_held_out"] == 96
    stages, _ = repro(folder)
    assert stages == []
