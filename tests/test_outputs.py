"""Places of outputs: what can be known before any work is known then."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.outputs import check_output, check_writable


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "not" / "there" / "yet")
    check_output(tmp_path / "not" / "there.json", "json")
    assert list(tmp_path.iterdir()) == []


def test_the_root_is_no_output() -> None:
    with pytest.raises(InputError, match="nothing can be written to / itself"):
        check_writable(Path("/"))


def test_a_file_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot write .*out\.json: .*file is a file, not a folder"):
        check_output(tmp_path / "file" / "out.json", "json")


@pytest.mark.parametrize("place", ["/dev/null", "/dev/full"])
def test_a_device_is_never_replaced(place: str) -> None:
    with pytest.raises(InputError, match="it is no regular file"):
        check_output(Path(place), "json")


def test_a_place_where_the_system_refuses_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot write /proc/"):
        check_writable(Path("/proc/ccaf/out.json"))


def write(path: Path, kind: str) -> None:
    if kind == "parquet":
        pq.write_table(pa.table({"image_id": ["a"], "feature": [[1.0]]}), path)
    elif kind == "json":
        path.write_text(json.dumps({"protocols": {}}))
    elif kind == "html":
        path.write_text('\n<!DOCTYPE html>\n<meta name="generator" content="ccaf-pipeline 1">')
    else:
        path.write_bytes({"text": b"my thesis", "empty": b"", "deep": b"[" * 100_000}[kind])


OWN = {"parquet": ["feature"], "json": ["protocols"], "html": ['content="ccaf-pipeline']}


@pytest.mark.parametrize("form", OWN)
@pytest.mark.parametrize("kind", [*OWN, "text", "deep", "empty"])
def test_only_an_earlier_output_of_the_same_kind_is_replaced(form, kind, tmp_path: Path) -> None:
    path = tmp_path / "out"
    write(path, kind)
    before = path.read_bytes()
    if kind in (form, "empty"):
        check_output(path, form, OWN[form])
    else:
        with pytest.raises(InputError, match="is not what this command writes"):
            check_output(path, form, OWN[form])
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", OWN)
def test_a_file_of_the_form_that_lacks_the_marks_is_somebodys_own(form, tmp_path: Path) -> None:
    write(tmp_path / "out", form)
    with pytest.raises(InputError, match="choose another place"):
        check_output(tmp_path / "out", form, ["something else"])


def test_an_input_is_never_the_output(tmp_path: Path) -> None:
    write(tmp_path / "features", "parquet")
    (tmp_path / "link").symlink_to("features")
    with pytest.raises(InputError, match="is read and would be written as well"):
        check_output(tmp_path / "link", "parquet", ["feature"], [None, tmp_path / "features"])
