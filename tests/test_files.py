"""Atomic files and folders: all or nothing."""

import json

import pytest

from pipeline.errors import InputError
from pipeline.files import atomic_file, atomic_folder, read_json, sha256_of_file, sha256_of_value, write_json


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
