"""DVC's stages of the studies, for whoever asks; tests/test_demo.py shows that the demo runs none of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.studies.study import study_names

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def dvc(tmp_path_factory):
    """Runs `dvc` in a clone of the repository's files for DVC."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", "studies", "data_manifests"):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, folder / name)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(*words: str) -> str:
        done = subprocess.run(
            ["dvc", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout + done.stderr

    run("init", "--no-scm", "--quiet")
    return run


def test_every_study_is_a_stage_that_can_be_asked_for(dvc):
    listed = dvc("stage", "list", "--name-only", "studies/dvc.yaml").split()
    assert sorted(listed) == [f"studies/dvc.yaml:ablate@{name}" for name in study_names()]
    output = dvc("repro", "--dry", "studies/dvc.yaml:ablate@table3")
    assert "ccaf-pipeline ablate --study table3" in output
    assert "walkers" not in output
