"""What killed runs leave beside their outputs is removed by the next one; what others still write is not."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.files import atomic_file, atomic_folder
from pipeline.leftovers import YOUNG_SECONDS


def _write_and_wait(folder: Path) -> None:
    with atomic_folder(folder / "set", lambda _: ("a",)) as temporary, atomic_file(folder / "table.csv") as file:
        (temporary / "a").write_text("half")
        file.write_text("half")
        (folder / "ready").touch()
        time.sleep(60)


def _make_old(folder: Path) -> list[Path]:
    found = sorted(folder.glob(".*.tmp"))
    for path in found:
        old = time.time() - 2 * YOUNG_SECONDS
        os.utime(path, (old, old))
    return found


def _write(folder: Path) -> None:
    with atomic_folder(folder / "set", lambda _: ("a",)) as temporary, atomic_file(folder / "table.csv") as file:
        (temporary / "a").write_text("whole")
        file.write_text("whole")


@pytest.mark.parametrize("name", ["set", "table.csv"])
def test_names_that_only_look_alike_stay(tmp_path: Path, name: str) -> None:
    others = [f".{name}.abcdefg.tmp", f".{name}.abcdefgh.old", f".other-{name}.abcdefgh.tmp", f"{name}.abcdefgh.tmp"]
    for other in others:
        (tmp_path / other).mkdir()
    _make_old(tmp_path)
    _write(tmp_path)
    assert all((tmp_path / other).is_dir() for other in others)


def test_leftovers_of_a_killed_process_are_removed_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_write_and_wait, args=(tmp_path,))
    process.start()
    while not (tmp_path / "ready").exists():
        assert process.is_alive()
        time.sleep(0.01)
    left = _make_old(tmp_path)
    assert len(left) == 2
    _write(tmp_path)
    assert sorted(tmp_path.glob(".*.tmp")) == left, "their process lives"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    _write(tmp_path)
    assert list(tmp_path.glob(".*.tmp")) == []
    assert ((tmp_path / "set" / "a").read_text(), (tmp_path / "table.csv").read_text()) == ("whole", "whole")
