"""Locks between real processes: who is there is told, and a dead one is in nobody's way."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.locks import hold, lock_of

HOLDER = """
import sys
from pathlib import Path
from pipeline.locks import hold
with hold(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path, how: str = "alone") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a place."""
    command = [sys.executable, "-c", HOLDER, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def try_to_hold(path: Path, shared: bool = False) -> None:
    with hold(path, shared=shared):
        pass


def test_the_holder_is_named_and_its_end_frees_the_place(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "encoder"
    with holder(out) as process:
        for shared in (False, True):
            with pytest.raises(InputError) as caught:
                try_to_hold(out, shared)
            assert f"another run is using {out} (process {process.pid} on " in str(caught.value)
            assert "): wait for it, or choose another place" in str(caught.value)
        process.kill()
        process.wait()
        assert lock_of(out).is_file(), "a killed process cannot clean up"
        try_to_hold(out)
    assert not lock_of(out).exists()


def test_readers_share_and_keep_writers_away(tmp_path: Path) -> None:
    with holder(tmp_path / "prompts", "shared"):
        try_to_hold(tmp_path / "prompts", shared=True)
        assert lock_of(tmp_path / "prompts").is_file(), "it is the other reader's still"
        with pytest.raises(InputError, match=r"another run is using .*prompts"):
            try_to_hold(tmp_path / "prompts")


def test_a_place_and_a_link_to_it_are_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with hold(tmp_path / "real"), pytest.raises(InputError, match="another run is using"):
        try_to_hold(tmp_path / "link")


def test_what_cannot_be_written_is_refused_for_writers_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        try_to_hold(tmp_path / "file" / "out")
    try_to_hold(tmp_path / "file" / "out", shared=True)
