"""DVC away from home: in an archive without a history, and with a ~ in the parameters."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from stages.cli import run

REPOSITORY = Path(__file__).resolve().parent.parent


def dvc(folder: Path, *words: str) -> tuple[int, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="the tests run in a copy without a history")
def test_dvc_works_in_an_archive_which_has_no_history(tmp_path: Path) -> None:
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(tmp_path, filter="data")
    code, output = dvc(tmp_path, "status", "dvc.yaml")
    assert code == 0, output
    assert "changed" in output
    kept = REPOSITORY / ".dvc" / "config"
    assert "no_scm = true\n" not in kept.read_text(), "a clone has a history, which experiments need"
    shutil.copy(kept, tmp_path / ".dvc" / "config")
    assert "is not a git repository" in dvc(tmp_path, "status", "dvc.yaml")[1]
    assert dvc(tmp_path, "config", "--local", "core.no_scm", "true")[0] == 0  # as `make demo` does in any other copy
    assert dvc(tmp_path, "status", "dvc.yaml")[0] == 0


@pytest.mark.parametrize("key", ["data.root", "data.dataset", "model.pretrained"])
def test_a_path_that_dvc_would_misread_is_refused_with_the_absolute_one(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    tree = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    section, name = key.split(".")
    for value, code in (("x", 0), ("~/x", 2)):
        tree[section][name] = value
        Path("params.yaml").write_text(yaml.safe_dump(tree))
        Path("paths.json").unlink(missing_ok=True)
        assert run(["dvc-paths", "--out", "paths.json"]) == code
        assert Path("paths.json").exists() == (code == 0)
    error = capsys.readouterr().err
    assert error.startswith(f"error: params.yaml: {key}: DVC takes the ~ of ~/x for a folder of that name")
    assert error.endswith("write the absolute path, /home/me/x\n")


def test_what_was_checked_is_told_and_other_sources_of_parameters_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("data: {root: sets}\n")
    assert run(["dvc-paths", "--out", "paths.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {**json.loads(Path("paths.json").read_text()), "out": "paths.json"}
    assert run(["dvc-paths", "--out", "paths.json", "--set", "data.root=~/x"]) == 2
    assert "--set is not for this command" in capsys.readouterr().err


def test_all_that_is_parsed_waits_for_this_check() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert stages["paths"]["outs"][0] in stages["parse"]["deps"]
    followed = {word for stage in stages.values() for path in stage.get("deps", []) for word in path.split("${")[1:]}
    names = {word.partition("}")[0] for word in followed}
    assert names - {"parse.parser"} == set(stages["paths"]["params"])


def test_the_former_name_of_a_parser_is_refused_with_the_one_that_dvc_can_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for name, code in (("transformers", 0), ("segformer", 2)):
        tree["parse"]["parser"] = name
        Path("params.yaml").write_text(yaml.safe_dump(tree))
        assert run(["dvc-paths", "--out", "paths.json"]) == code
    said = capsys.readouterr().err
    assert said.startswith("error: params.yaml: parse.parser: segformer is the former name of transformers")
