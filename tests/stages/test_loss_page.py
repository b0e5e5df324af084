"""The documentation's guide to a loss of one's own: done step by step in a copy of the program, it is trained with."""

import csv
import os
import subprocess
import sys

import pytest
from doc_pages import DOCS, code_block, extended_copy

PAGE = DOCS / "extend/loss.md"


@pytest.fixture
def python(tmp_path):
    """Runs the copy in which the guide's steps were done."""
    folder = extended_copy(PAGE, tmp_path / "copy")
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    return run


def test_the_guide_makes_a_loss_whose_test_passes(python):
    assert "3 passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/losses/test_camera_centres.py")


def test_the_loss_is_trained_with_as_the_guide_says(python, figures, tmp_path):
    (weights,) = (word for word in code_block(PAGE, "sh", "--stage encoder").split("'") if "encoder.weights" in word)
    common = [
        "--dataset",
        str(figures.facts),
        "--params",
        str(figures.params),
        "--shards",
        str(figures.shards),
        "--quiet",
    ]
    values = [weights, "encoder.camera_distance=0.01", "encoder.method=baseline", "prompts.epochs=1"]
    changes = [word for value in values for word in ("--set", value)]
    places = ["--prompts", str(tmp_path / "prompts"), "--out", str(tmp_path / "encoder")]
    python("-m", "stages", "train", *common, *changes, *places)
    with (tmp_path / "encoder/curves.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    assert all(float(row["camera_centres"]) > 0 for row in rows)
    assert float(rows[0]["total"]) == pytest.approx(
        float(rows[0]["identity"]) + 0.1 * float(rows[0]["camera_centres"]), rel=1e-4
    )
