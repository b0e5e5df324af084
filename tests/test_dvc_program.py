"""What DVC runs again when the program or a parameter changes: real DVC on our own files, beside a quick command."""

import json
import re

import pytest
import yaml
from dvc_copy import DvcCopy

RECORDER = """#!/bin/sh
# In the place of ccaf-pipeline: makes what its commands make, other bytes each time.
top=artifacts/walkers
make() { for file; do mkdir -p "$(dirname "$file")"; date +%s%N > "$file"; done; }
case "$*" in
  "manifest --check") ;;
  dvc-paths*) mkdir -p artifacts; echo checked > artifacts/paths.json ;;
  manifest*) ;;
  synth*) make data/walkers/image ;;
  parse*) make $top/shards/shard ;;
  inspect*) make $top/inspect.html ;;
  *"--stage prompts"*) make $top/prompts/weights $top/prompts/curves.csv ;;
  *"--stage encoder"*) make $top/encoder/weights $top/encoder/curves.csv ;;
  *--frozen*) make $top/features-frozen.parquet $top/metrics-frozen.json ;;
  extract*) make $top/features.parquet $top/metrics.json ;;
  report*) make $top/report.html ;;
  *) exit 1 ;;
esac
"""
AFTER_PARSE = ["encoder", "evaluate", "inspect", "parse", "prompts", "report"]


@pytest.fixture(scope="module")
def dvc(tmp_path_factory):
    """A copy of the repository in which everything was made."""
    run = DvcCopy(tmp_path_factory.mktemp("copy"), RECORDER)
    assert len(repro(run)) == len(AFTER_PARSE) + 2
    return run


def repro(dvc) -> list[str]:
    return sorted(re.findall(r"Running stage '([\w-]+)'", dvc("repro")))


def outdated(dvc) -> list[str]:
    """Stages that are to run because of something that they themselves depend on."""
    return sorted(json.loads(dvc("status", "--json", "dvc.yaml")))


def edit(dvc, *names: str) -> None:
    for name in names:
        with (dvc.folder / name).open("a") as stream:
            stream.write("\n# edited\n")


def choose_parser(dvc, name: str) -> None:
    path = dvc.folder / "params.yaml"
    path.write_text(re.sub(r"parser: \w+", f"parser: {name}", path.read_text()))


def test_a_changed_loss_runs_the_encoder_and_what_follows_again(dvc):
    edit(dvc, "pipeline/losses/disentangle.py")
    assert outdated(dvc) == ["encoder"]
    assert repro(dvc) == ["encoder", "evaluate", "report"]


def test_a_training_parameter_runs_training_and_what_follows_again(dvc):
    path = dvc.folder / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["encoder"]["lambda_dis"] = 0.5
    path.write_text(yaml.safe_dump(tree))
    assert outdated(dvc) == ["encoder"]
    assert repro(dvc) == ["encoder", "evaluate", "report"]


def test_what_decides_nothing_runs_nothing_again(dvc):
    (dvc.folder / "pipeline" / "losses" / "__pycache__").mkdir()
    (dvc.folder / "pipeline" / "losses" / "__pycache__" / "identity.cpython-311.pyc").write_bytes(b"compiled")
    edit(
        dvc,
        "docs/index.md",
        "docs/guides/dvc.md",
        "pipeline/models/weights/walker-clip/MODEL_CARD.md",
        "pipeline/parsing/lite/weights/MODEL_CARD.md",
        "pipeline/parsing/lite/training/train.py",
        "pipeline/parsing/schp/network.py",
        "pipeline/parsing/transformers/backend.py",
        "pipeline/config/reading.py",
        "pipeline/trainer/timing.py",
        "stages/cli/train.py",
    )
    assert outdated(dvc) == []
    assert repro(dvc) == []


def test_the_parser_in_use_runs_everything_after_it_again_and_no_other_does(dvc):
    edit(dvc, "pipeline/parsing/lite/network.py")
    assert outdated(dvc) == ["parse"]
    choose_parser(dvc, "schp")
    assert repro(dvc) == AFTER_PARSE
    edit(dvc, "pipeline/parsing/lite/network.py")
    assert outdated(dvc) == []
    network = dvc.folder / "pipeline" / "parsing" / "schp" / "network.py"
    before = network.read_bytes()
    edit(dvc, "pipeline/parsing/schp/network.py")
    assert outdated(dvc) == ["parse"]
    network.write_bytes(before)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("pipeline/reporting/templates/ranked.html.j2", ["inspect", "report"]),
        ("pipeline/datasets/walkers/wardrobe.py", ["synth"]),
        ("pipeline/datasets/readers/prcc.py", ["parse"]),
        ("pipeline/training/prompt_task.py", ["encoder", "prompts"]),
        ("pipeline/evaluation/metrics.py", ["encoder", "evaluate"]),  # the encoder's checks between epochs
        ("pipeline/evaluation/scoring.py", ["encoder", "evaluate"]),
        ("data_manifests/walkers.yaml", ["encoder", "evaluate", "inspect", "parse", "prompts", "report"]),
    ],
)
def test_a_file_concerns_the_stages_that_use_it(dvc, name, stages):
    before = (dvc.folder / name).read_bytes()
    edit(dvc, name)
    assert outdated(dvc) == stages
    (dvc.folder / name).write_bytes(before)
