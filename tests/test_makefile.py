"""What `make` would run: the demo installs what the pipeline needs, the tests add their tools to it, nothing twice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LEAN, FULL = "--editable .", "--editable '.[dev,detectron2,transformers]'"


@pytest.fixture
def clone(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def commands(folder: Path, target: str) -> list[str]:
    outer = {"PYTHON", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # of a make that runs these tests
    environment = {key: value for key, value in os.environ.items() if key not in outer}
    done = subprocess.run(
        ["make", "--dry-run", target],
        cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return done.stdout.splitlines()


def installs(folder: Path, target: str) -> list[str]:
    return [line.partition("--no-compile ")[2] for line in commands(folder, target) if " install " in line]


def finish(folder: Path, *markers: str) -> None:
    """As after an installation."""
    for name in ("bin/python", *markers):
        path = folder / ".venv" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_demo_of_a_fresh_clone_installs_no_tools_for_development(clone):
    assert installs(clone, "demo") == [LEAN]
    assert "python3 -m venv .venv" in commands(clone, "demo")


@pytest.mark.parametrize("target", ["setup", "test", "tests", "lint", "types"])
def test_tests_after_the_demo_add_to_its_environment(clone, target):
    assert installs(clone, target) == [FULL]
    finish(clone, ".installed-demo")
    assert installs(clone, target) == [FULL]
    assert not [line for line in commands(clone, target) if "-m venv" in line]


def test_the_demo_after_the_tests_installs_nothing(clone):
    last = [line for line in commands(clone, "setup") if line.startswith("touch")]
    assert last == ["touch .venv/.installed-demo .venv/.installed-dev"]
    finish(clone, ".installed-demo", ".installed-dev")
    assert installs(clone, "demo") == installs(clone, "test") == []


def test_what_the_demo_imports_is_compiled_once_and_the_tests_environment_beforehand(clone):
    assert [line for line in commands(clone, "demo") if line.startswith("PYTHONDONTWRITEBYTECODE= ")]
    assert not [line for line in commands(clone, "demo") if "compileall" in line]
    assert [line for line in commands(clone, "setup") if "compileall" in line]


@pytest.mark.parametrize(("target", "folder"), [("test-oldest", "build/oldest"), ("test-latest", "build/latest")])
def test_tests_of_other_releases_leave_the_environment_alone(target, folder, clone):
    script = Path("tests/dependency_bounds.py")
    (clone / "tests").mkdir()
    shutil.copy(REPOSITORY / script, clone / script)
    lines = commands(clone, target)
    assert f"python3 -m venv --clear {folder}" in lines
    assert not [line for line in lines if ".venv" in line]
    assert [line for line in lines if line.startswith(f"{folder}/bin/python -m pytest ")]
    assert [line for line in lines if line.startswith(f"{folder}/bin/python -m pip install ")]


def test_the_quick_tests_are_all_but_those_of_many_processes():
    (line,) = [each for each in commands(REPOSITORY, "test-oldest") if " -m pytest " in each]
    chosen = [word for word in line.partition(" -m pytest ")[2].split() if word.startswith("tests")]
    assert all((REPOSITORY / each).exists() for each in chosen)
    assert "tests/test_images.py" in chosen
    assert "tests/shards/test_reader.py" in chosen
    assert not {"tests/test_demo.py", "tests/test_examples.py"} & set(chosen)


def test_the_demo_ends_by_saying_what_to_open_and_what_to_run(clone):
    *_, opened, following, searched = commands(clone, "demo")
    assert "artifacts/walkers/report.html" in opened
    assert "params.yaml" in following
    assert "embed data/walkers/gallery" in searched
