"""Atomic files and folders: all or nothing."""

import json
import os
import resource
import stat
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import InputError
from pipeline.files import DiskError, atomic_file, atomic_folder, read_json, sha256_of_file, sha256_of_value, write_json


class BrokenWorkError(Exception):
    """Something went wrong in the middle."""


def _break(context, work):
    with context as temporary:
        work(temporary)
        raise BrokenWorkError


def test_a_file_appears_only_when_the_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "result.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(BrokenWorkError):
        _break(atomic_file(target), lambda temporary: temporary.write_text("half"))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "out"
    for names in (["a", "b"], ["c"]):
        with atomic_folder(target, lambda folder: ("a", "b")) as temporary:
            for name in names:
                (temporary / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_block_leaves_the_old_folder(tmp_path):
    target = tmp_path / "out"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("a")
    with pytest.raises(BrokenWorkError):
        _break(atomic_folder(target), lambda temporary: (temporary / "b").write_text("b"))
    assert [path.name for path in target.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [target]


def test_targets_that_cannot_be_written_are_input_errors(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*folder: it is a folder"):
        _break(atomic_file(tmp_path / "folder"), lambda temporary: None)
    with pytest.raises(InputError, match=r"cannot write .*file: it is a file"):
        _break(atomic_folder(tmp_path / "file"), lambda temporary: None)
    with pytest.raises(InputError, match=r"cannot write .*x\.json"):
        write_json(tmp_path / "file" / "x.json", {})


def test_json_is_sorted_and_refuses_nan(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert read_json(path, "thing") == {"a": [1.5, None], "b": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path, "thing") == {"a": [1.5, None], "b": 1}


def test_reading_json_names_what_and_where(tmp_path):
    with pytest.raises(InputError, match=r"record not found: .*none"):
        read_json(tmp_path / "none", "record")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(InputError, match=r"record .*bad cannot be read as JSON"):
        read_json(tmp_path / "bad", "record")


def test_hashes_are_of_bytes_and_of_canonical_values(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")  # the example of FIPS 180-4
    assert sha256_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_value({"a": 1, "b": 2}) == sha256_of_value(json.loads('{"b": 2, "a": 1}'))
    assert sha256_of_value({"a": 1}) != sha256_of_value({"a": 2})


def test_a_folder_with_anything_that_its_record_does_not_list_is_not_replaced(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "ours").write_text("old")
    (target / "notes.txt").write_text("mine")
    with (
        pytest.raises(InputError, match=r"out holds what ccaf-pipeline did not write \(notes.txt\)"),
        atomic_folder(target, lambda folder: ["ours"]) as temporary,
    ):
        (temporary / "ours").write_text("new")
    assert {path.name: path.read_text() for path in target.iterdir()} == {"ours": "old", "notes.txt": "mine"}
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_behind_a_link_is_replaced_where_it_is(tmp_path):
    (tmp_path / "disk" / "real").mkdir(parents=True)
    (tmp_path / "disk" / "real" / "a").write_text("old")
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "real")
    with atomic_folder(tmp_path / "out", lambda folder: ["a"]) as temporary:
        (temporary / "a").write_text("new")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "real" / "a").read_text() == "new"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["real"]


def test_devices_are_no_files_to_be_replaced():
    before = Path("/dev/null").stat()
    with pytest.raises(InputError, match="cannot write /dev/null: it is no regular file"):
        _break(atomic_file(Path("/dev/null")), lambda temporary: None)
    assert os.path.samestat(before, Path("/dev/null").stat())


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755), (0o002, 0o664, 0o775)]
)
def test_permissions_follow_the_umask_whatever_writes(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "new" / "x.json", {})
        with atomic_file(tmp_path / "w.safetensors") as temporary:
            save_file({"a": torch.zeros(2)}, temporary)
        with atomic_folder(tmp_path / "out") as temporary:
            save_file({"a": torch.zeros(2)}, temporary / "weights.safetensors")
            (temporary / "best").mkdir()
            (temporary / "best" / "text").write_text("x")
    finally:
        os.umask(before)
    for name in ("new/x.json", "w.safetensors", "out/weights.safetensors", "out/best/text"):
        assert _mode(tmp_path / name) == file, name
    for name in ("new", "out", "out/best"):
        assert _mode(tmp_path / name) == folder, name


@contextmanager
def small_files(size):
    """Files cannot grow beyond a size, as on a full disk; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "python": lambda path: path.write_bytes(b"x" * 10_000),
    "safetensors": lambda path: save_file({"a": torch.zeros(10_000)}, path),
    "parquet": lambda path: pq.write_table(pa.table({"a": [os.urandom(10_000)]}), path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_line_whichever_library_writes(tmp_path, writer):
    (tmp_path / "out.bin").write_text("old")
    with (
        small_files(4096),
        pytest.raises(DiskError, match=r"^cannot write \S*out\.bin: File too large; make room there, and run"),
        atomic_file(tmp_path / "out.bin") as temporary,
    ):
        WRITERS[writer](temporary)
    with (
        small_files(4096),
        pytest.raises(DiskError, match=r"^cannot write \S*folder: File too large"),
        atomic_folder(tmp_path / "folder") as temporary,
    ):
        WRITERS[writer](temporary / "x")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"out.bin": "old"}
