import pytest

from pipeline.errors import InputError
from pipeline.shards.making.run import read_workers


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", (0, 0)), ("4", (4, 0)), ("4:32", (4, 32)), ("1:2", (1, 2)), ("3:3", (3, 0))]
)
def test_a_number_of_workers_or_a_range_of_them(text: str, numbers: tuple[int, int]) -> None:
    assert read_workers(text) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8:4", r"^--workers 8:4: the most number is below the least; did you mean 4:8\?$"),
        ("0:3", "^--workers 0:3: the least number must be 1 or more, such as 1:3$"),
        ("0:0", "such as 1:1$"),
        ("-1", "give a number, such as 4, or the least and the most number, such as 4:32$"),
        ("-1:4", "give a number"),
        ("4:", "give a number"),
        (":4", "give a number"),
        ("4:x", "give a number"),
        ("4:8:9", "give a number"),
        ("", "give a number"),
        ("2.5", "give a number"),
        ("²", "give a number"),
    ],
)
def test_what_is_no_number_of_workers_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_workers(text)
