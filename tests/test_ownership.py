"""Whose a file is: nothing is removed that no record lists."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.ownership import foreign, refuse_foreign, remove_listed


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )


def test_what_no_record_lists_is_foreign(tmp_path: Path) -> None:
    fill(tmp_path, "a", "sub/b", "sub/mine", "notes/x", "notes/y")
    assert foreign(tmp_path, ["a", "sub/b", "not/there"]) == ["notes/", "sub/mine"]
    assert foreign(tmp_path / "none", ["a"]) == []
    with pytest.raises(InputError, match=r"holds what ccaf-pipeline did not write \(notes/, sub/mine\): move it"):
        refuse_foreign(tmp_path, ["a", "sub/b"])
    refuse_foreign(tmp_path, ["a", "sub/b", "sub/mine", "notes/x", "notes/y"])


def test_a_link_and_an_empty_folder_are_somebodys_too(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "a")
    folder = tmp_path / "out"
    (folder / "empty").mkdir(parents=True)
    (folder / "best").symlink_to(tmp_path / "elsewhere")
    assert foreign(folder, ["best/a"]) == ["best", "empty/"]


def test_only_what_is_listed_is_removed(tmp_path: Path) -> None:
    fill(tmp_path / "out", "a", "sub/b", "sub/mine", "deep/er/c")
    assert not remove_listed(tmp_path / "out", ["a", "sub/b", "deep/er/c", "not/there"])
    assert files(tmp_path / "out") == ["sub/mine"]
    assert not (tmp_path / "out" / "deep").exists()
    assert remove_listed(tmp_path / "out", ["sub/mine"])
    assert not (tmp_path / "out").exists()


def test_names_that_lead_out_of_the_folder_are_never_followed(tmp_path: Path) -> None:
    fill(tmp_path, "thesis.tex", "elsewhere/a", "out/b")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    remove_listed(tmp_path / "out", ["../thesis.tex", str(tmp_path / "thesis.tex"), "link/a", "..", "", "b"])
    assert files(tmp_path) == ["elsewhere/a", "out/link", "thesis.tex"]
    remove_listed(tmp_path / "out", ["link"])
    assert files(tmp_path) == ["elsewhere/a", "thesis.tex"], "a link is removed, what it leads to is not"


def test_a_folder_of_a_listed_name_stays(tmp_path: Path) -> None:
    fill(tmp_path / "out", "weights.safetensors/mine")
    assert not remove_listed(tmp_path / "out", ["weights.safetensors"])
    assert files(tmp_path / "out") == ["weights.safetensors/mine"]
