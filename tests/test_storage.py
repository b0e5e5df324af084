"""The same calls on a local folder, on an S3 server of a Python package, and on a file system of fsspec."""

import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.limited_reading import FileTooLargeError
from pipeline.location import Location, locate
from pipeline.storage import (
    StorageError,
    atomic_output,
    copy_file,
    file_size,
    is_folder,
    list_names,
    list_sizes,
    open_input,
    read_bytes,
    read_json,
    remove_file,
    write_json,
)


@pytest.fixture(params=["local", "s3", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    if request.param == "local":
        yield locate(tmp_path) / "some" / "folder"
    elif request.param == "s3":
        yield locate(request.getfixturevalue("s3_bucket")) / tmp_path.name / "some/folder"
    else:
        import fsspec

        yield locate("memory://some/folder")
        fsspec.filesystem("memory").store.clear()


def put(place: Location, data: bytes) -> None:
    with atomic_output(place) as temporary:
        temporary.write_bytes(data)


def test_files_are_written_listed_read_and_removed(folder: Location) -> None:
    assert list_names(folder) == []
    assert not is_folder(folder)
    put(folder / "b.txt", b"two")
    put(folder / "a.txt", b"")
    put(folder / "deeper" / "c.txt", b"three")
    put(folder / "b.txt", b"four")
    assert is_folder(folder)
    assert list_names(folder) == ["a.txt", "b.txt"]
    assert list_names(folder, "b*") == ["b.txt"]
    assert list_sizes(folder) == {"a.txt": 0, "b.txt": 4}
    assert list_sizes(folder, "a*") == {"a.txt": 0}
    assert list_sizes(folder / "nowhere") == {}
    assert (file_size(folder / "a.txt"), file_size(folder / "b.txt"), file_size(folder / "x")) == (0, 4, None)
    assert file_size(folder) is None
    assert read_bytes(folder / "b.txt") == b"four"
    assert read_bytes(pickle.loads(pickle.dumps(folder)) / "deeper" / "c.txt") == b"three"
    remove_file(folder / "b.txt")
    remove_file(folder / "b.txt")
    assert list_names(folder) == ["a.txt"]
    with pytest.raises(FileNotFoundError):
        read_bytes(folder / "b.txt")
    with pytest.raises(FileNotFoundError):
        open_input(folder / "b.txt")


def test_odd_names_are_names(folder: Location) -> None:
    for name in ("a b.txt", "50%.txt", "what?.txt", "no#1.txt", "%41.txt", "ä=1.txt", "a&b+c.txt"):
        put(folder / name, name.encode())
        assert (folder / name).name == name
        assert str(folder / name).endswith("/" + name)
    assert len(list_names(folder)) == 7
    assert all(read_bytes(folder / name) == name.encode() for name in list_names(folder))


def test_nothing_appears_when_writing_fails(folder: Location) -> None:
    put(folder / "a.txt", b"old")
    places = []

    def fail() -> None:
        with atomic_output(folder / "a.txt") as temporary:
            places.append(temporary)
            temporary.write_bytes(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list_names(folder) == ["a.txt"]
    assert read_bytes(folder / "a.txt") == b"old"
    assert not places[0].exists()


def test_parquet_and_json(folder: Location) -> None:
    table = pa.table({"x": list(range(1000))})
    with atomic_output(folder / "t.parquet") as temporary:
        pq.write_table(table, temporary, row_group_size=100)
    with open_input(folder / "t.parquet") as stream, pq.ParquetFile(stream) as parquet:
        assert parquet.read_row_group(3)["x"].to_pylist() == list(range(300, 400))
    write_json(folder / "j.json", {"b": 1, "a": [2]})
    assert read_bytes(folder / "j.json") == (json.dumps({"a": [2], "b": 1}, indent=2) + "\n").encode()
    assert read_json(folder / "j.json", "thing") == {"a": [2], "b": 1}
    with pytest.raises(InputError, match=r"thing not found: .*some/folder/none.json"):
        read_json(folder / "none.json", "thing")
    put(folder / "j.json", b"{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_json(folder / "j.json", "thing")


def test_objects_are_copied_within_a_store(s3_bucket: str) -> None:
    folder = locate(s3_bucket) / "copies"
    put(folder / "a", b"x" * 7_000_000)
    copy_file(folder / "a", folder / "b")
    assert read_bytes(folder / "b") == b"x" * 7_000_000


@pytest.mark.parametrize(
    ("given", "shown", "name", "parent"),
    [
        ("s3://bucket/a/b?region=x", "s3://bucket/a/b", "b", "s3://bucket/a?region=x"),
        ("s3://key:secret@bucket/a", "s3://bucket/a", "a", "s3://key:secret@bucket/"),
        (Path("s3://bucket/a/b"), "s3://bucket/a/b", "b", "s3://bucket/a"),
        ("file:///data/x", "/data/x", "x", "/data"),
        ("FILE://LOCALHOST/data/a%20b#1?", "/data/a b#1?", "a b#1?", "/data"),
        (Path(b"/data/\xff".decode(errors="surrogateescape")).as_uri(), "/data/\udcff", "\udcff", "/data"),
        ("relative/x", "relative/x", "x", "relative"),
    ],
)
def test_places_as_users_give_them(given: str | Path, shown: str, name: str, parent: str) -> None:
    location = locate(given)
    assert (str(location), location.name, location.parent) == (shown, name, Location(parent))


def test_a_file_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match="names the machine data; a file of this one is file:///"):
        locate("file://data/x")


def test_an_absolute_path_of_a_row_wins_in_a_local_folder() -> None:
    assert (locate("/data") / "/other/x").local == Path("/other/x")


def test_a_scheme_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InputError, match=r"nonsense://x/y|no file system"):
        read_bytes("nonsense://x/y")


def test_a_server_that_does_not_answer_is_named(
    unused_endpoint: str, monkeypatch: pytest.MonkeyPatch, s3_environment: Callable[[str], dict[str, str]]
) -> None:
    for key, value in s3_environment(unused_endpoint).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(StorageError, match=r"s3://nobody.*"):
        read_bytes("s3://nobody/x")
    assert os.environ["AWS_ENDPOINT_URL"] == unused_endpoint


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_file_is_read_up_to_a_limit(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = locate(tmp_path if place == "local" else f"{request.getfixturevalue('s3_bucket')}/limited")
    with atomic_output(folder / "x") as temporary:
        temporary.write_bytes(b"12345")
    assert read_bytes(folder / "x", 5) == read_bytes(folder / "x") == b"12345"
    with pytest.raises(FileTooLargeError, match="exceeds the limit of 4 bytes"):
        read_bytes(folder / "x", 4)
