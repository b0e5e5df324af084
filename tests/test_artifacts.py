"""The one reader of artifacts: bounds, strict types, and errors that name file and field in one line."""

import pytest

from pipeline.artifacts import Artifact, Count, FileName, read_json_artifact
from pipeline.errors import InputError, one_line
from pipeline.json_text import decode_json, read_json_file


class Sample(Artifact):
    rows: Count
    names: list[FileName] = []  # noqa: RUF012  (pydantic copies it)


def test_what_fits_comes_back_and_unknown_fields_are_left_alone(tmp_path):
    (tmp_path / "a.json").write_text('{"rows": 3, "names": ["x"], "newer": [1]}')
    found = read_json_artifact(tmp_path / "a.json", "sample", Sample)
    assert (found.rows, found.names) == (3, ["x"])
    assert found.plain == {"rows": 3, "names": ["x"], "newer": [1]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "rows: Field required"),
        ('{"rows": null}', "rows: Input should be a valid integer"),
        ('{"rows": "3"}', "rows: Input should be a valid integer"),
        ('{"rows": true}', "rows: Input should be a valid integer"),
        ('{"rows": 3.0}', "rows: Input should be a valid integer"),
        ('{"rows": -1}', "rows: Input should be greater than or equal to 0"),
        ('{"rows": 1, "names": ["../x"]}', r"names\.0: String should match"),
        ("[]", "Input should be a valid dictionary"),
        ('{"rows": 1e999}', "rows is no finite number"),
        (f'{{"rows": {10**30}}}', "rows is an integer of more than 64 bits"),
        (f'{{"rows": {"9" * 5000}}}', "cannot be read as JSON"),
        ('{"rows": "\\ud800"}', "rows is a text with half of a character"),
        ('{"rows": ' + "[" * 100 + "]" * 100 + "}", "nested too deep: at most 64"),
        ("[" * 100_000, "nested too deep: at most 64"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=rf"sample .*a\.json .*{said}") as caught:
        read_json_artifact(tmp_path / "a.json", "sample", Sample, repair="make it again")
    assert len(str(caught.value).splitlines()) == 1


def test_size_is_looked_at_before_anything_is_read(tmp_path):
    with (tmp_path / "a.json").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(InputError, match="too large"):
        read_json_file(tmp_path / "a.json", "sample")
    (tmp_path / "a.json").write_text("[1, 2]")
    assert read_json_file(tmp_path / "a.json", "sample", most_bytes=6) == [1, 2]
    with pytest.raises(InputError, match="exceeds the limit of 5 bytes"):
        read_json_file(tmp_path / "a.json", "sample", most_bytes=5)


def test_depth_is_counted_from_the_outermost():
    assert decode_json("[[[1]]]", "it", most_depth=3) == [[[1]]]
    with pytest.raises(InputError, match="nested too deep"):
        decode_json("[[[1]]]", "it", most_depth=2)


def test_messages_are_one_line_that_a_terminal_can_show():
    assert one_line("a\n b\x1b[2J\ud800é") == "a b\\x1b[2J\\ud800é"
    assert len(one_line("x" * 100_000)) < 2100
