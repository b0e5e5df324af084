"""The documentation's guide to a reader of one's own: done step by step in a copy of the program, its test passes."""

import os
import subprocess
import sys

from doc_pages import DOCS, extended_copy


def test_the_guide_makes_a_reader_whose_test_passes_and_that_the_command_line_knows(tmp_path):
    folder = extended_copy(DOCS / "extend/reader.md", tmp_path / "copy")
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    def python(*words):
        return subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    tested = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/datasets/test_lobby.py")
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout
    for name in (
        "train/p0007_o1_cam3_1.jpg",
        "train/p0007_o2_cam3_2.jpg",
        "query/a.jpg",
        "gallery/p0007_o1_cam1_1.jpg",
    ):
        (tmp_path / "lobby" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lobby" / name).touch()
    listed = python("-m", "stages", "manifest", "--dataset", "lobby", "--root", str(tmp_path), "--out", "m.parquet")
    assert listed.returncode == 0, listed.stderr
    assert "query/a.jpg" in listed.stdout + listed.stderr
