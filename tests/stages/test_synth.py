"""The command synth: what it writes, says and refuses."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from pipeline.config import load_parameters
from pipeline.errors import InputError
from pipeline.locks import hold
from pipeline.workspace import RenderedPart
from stages import synth
from stages.cli.synth import command
from stages.console import Console

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
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CCAF_DATA", "~/sets")
    assert run("--quiet")[0] == 0
    assert (tmp_path / "home" / "sets" / "walkers" / "_record.json").is_file()
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


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_rendered_folders_are_replaced_and_those_with_anything_else_are_refused(tmp_path: Path) -> None:
    assert run("--out", str(tmp_path), "--quiet")[0] == 0
    first = names(tmp_path)
    assert run("--out", str(tmp_path), "--quiet", "--seed", "5")[0] == 0
    assert names(tmp_path) != first, "other people"
    for place in ("walkers/train/mine.jpg", "walkers-pretrain/notes/mine.txt", "walkers/labels/mine.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("mine")
        before = names(tmp_path)
        with pytest.raises(InputError, match=r"holds what ccaf-pipeline did not write \("):
            synth.run(load_parameters(None, SMALL), Console(quiet=True), tmp_path, None, 1)
        assert names(tmp_path) == before
        (tmp_path / place).unlink()
        if (tmp_path / "walkers-pretrain" / "notes").is_dir():
            (tmp_path / "walkers-pretrain" / "notes").rmdir()
    assert run("--out", str(tmp_path), "--quiet")[0] == 0
    assert names(tmp_path) == first


def test_folders_of_that_name_that_are_somebodys_own_are_refused(tmp_path: Path) -> None:
    (tmp_path / "walkers").mkdir()
    (tmp_path / "walkers" / "_record.json").write_text("[]")
    with pytest.raises(InputError, match=r"walkers holds what ccaf-pipeline did not write \(_record.json\)"):
        synth.run(load_parameters(None, SMALL), Console(quiet=True), tmp_path, None, 1)
    assert names(tmp_path) == ["walkers/_record.json"]


def test_a_table_that_lists_files_elsewhere_removes_none_of_them(tmp_path: Path) -> None:
    assert run("--out", str(tmp_path), "--only", "walkers", "--quiet")[0] == 0
    (tmp_path / "thesis.tex").write_text("mine")
    path = tmp_path / "walkers" / "attributes.parquet"
    table = pq.read_table(path)
    paths = [*table["path"].to_pylist()[:-1], "../thesis.tex"]
    pq.write_table(table.set_column(0, "path", pa.array(paths)), path)
    with pytest.raises(InputError, match="did not write"):  # the image that the table does not list any more
        synth.run(load_parameters(None, SMALL), Console(quiet=True), tmp_path, RenderedPart.WALKERS, 1)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_two_commands_do_not_render_into_one_folder(tmp_path: Path) -> None:
    with hold(tmp_path / "walkers"), pytest.raises(InputError, match=r"another run is using .*walkers \(process "):
        synth.run(load_parameters(None, SMALL), Console(quiet=True), tmp_path, None, 1)
    assert names(tmp_path) == []
