"""The command synth: what it writes, says and refuses."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from stages.cli.synth import command

SMALL = ["synth.train_identities=2", "synth.test_identities=2", "synth.pretrain_images=16", "synth.images_per_outfit=2"]


def run(*arguments: str) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(command)
    options = [part for setting in SMALL for part in ("--set", setting)]
    result = CliRunner().invoke(app, [*options, "--workers", "1", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_writes_both_folders_and_says_what_is_next(tmp_path: Path) -> None:
    code, out, err = run("--out", str(tmp_path), "--json")
    assert code == 0
    result = json.loads(out)
    images = sorted((tmp_path / "walkers" / "train").glob("*.jpg"))
    assert result["train"] == len(images) > 0
    assert result["query"] == len(list((tmp_path / "walkers" / "query").glob("*.jpg")))
    assert (tmp_path / "walkers-pretrain" / "pretrain.parquet").is_file()
    assert "next: ccaf-pipeline pretrain-clip" in err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_quiet_says_nothing_but_the_result(tmp_path: Path) -> None:
    code, out, err = run("--out", str(tmp_path), "--quiet", "--seed", "5")
    assert code == 0
    assert err == ""
    assert "16 captioned images" in out


def test_root_comes_from_the_parameters_then_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCAF_DATA", str(tmp_path / "environment"))
    assert run("--quiet")[0] == 0
    assert (tmp_path / "environment" / "walkers" / "_record.json").is_file()
    assert run("--quiet", "--set", f"data.root={tmp_path / 'parameter'}")[0] == 0
    assert (tmp_path / "parameter" / "walkers" / "_record.json").is_file()
    monkeypatch.delenv("CCAF_DATA")
    assert run("--quiet")[0] == 0
    assert (tmp_path / "data" / "walkers" / "_record.json").is_file()


@pytest.mark.parametrize(
    ("only", "key", "file", "command"),
    [
        ("walkers", "walkers", "attributes.parquet", "manifest --dataset walkers"),
        ("walkers-pretrain", "walkers_pretrain", "pretrain.parquet", "pretrain-clip"),
    ],
)
def test_one_of_the_two_is_rendered_alone_and_is_the_same(
    tmp_path: Path, only: str, key: str, file: str, command: str
) -> None:
    assert run("--out", str(tmp_path / "both"), "--quiet")[0] == 0
    code, out, err = run("--out", str(tmp_path / "one"), "--only", only, "--json")
    assert code == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == [only]
    both, one = (tmp_path / name / only / file for name in ("both", "one"))
    assert one.read_bytes() == both.read_bytes()
    result = json.loads(out)
    assert result[key] == str(tmp_path / "one" / only)
    assert {"walkers", "walkers_pretrain"} & result.keys() == {key}
    assert err.splitlines()[-1] == f"next: ccaf-pipeline {command}"


def test_another_part_is_refused(tmp_path: Path) -> None:
    code, _, err = run("--out", str(tmp_path), "--only", "people")
    assert code == 2
    assert "walkers-pretrain" in err
    assert not list(tmp_path.iterdir())
