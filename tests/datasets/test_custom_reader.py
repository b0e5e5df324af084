"""The reader ``custom``: tables good and bad, and the real images that come with a table."""

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.catalog import DatasetFacts, DatasetListing, load_facts, read_dataset
from pipeline.datasets.manifest import read_manifest, write_manifest
from pipeline.datasets.readers.custom import _number_texts, _whole_number
from pipeline.errors import InputError
from pipeline.yaml_files import parse_yaml

HEADER = "path,split,person_id,camera_id,clothes_id,tracklet_id\n"
COLUMNS = ("path", "split", "person_id", "camera_id", "clothes_id", "tracklet_id")


def facts(**settings: Any) -> DatasetFacts:
    settings = {"table": "t.csv", **settings}
    tree = dict.fromkeys(("title", "home", "access", "terms", "layout"), "-") | {
        "name": "mine",
        "reader": "custom",
        "markers": [settings["table"]],
        "roles": {"train": ["train"], "val": ["val"], "query": ["query"], "gallery": ["gallery"]},
        "protocols": ["general"],
        "settings": settings,
    }
    return DatasetFacts.model_validate(tree)


def read_csv(folder: Path, text: str, images: Sequence[str] | None = None, **settings: Any) -> DatasetListing:
    """Write a table and its images (those of its first column, unless given) and read it."""
    (folder / "t.csv").write_text(text)
    for name in [line.split(",")[0] for line in text.splitlines()[1:]] if images is None else images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return read_dataset(facts(**settings), folder)


def rows(listing: DatasetListing) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in COLUMNS) for row in listing.manifest.to_pylist()]


def column(listing: DatasetListing, name: str) -> dict[str, Any]:
    """Values of one column by path."""
    return {row["path"]: row[name] for row in listing.manifest.to_pylist()}


def refusal(folder: Path, text: str, images: Sequence[str] | None = None, **settings: Any) -> list[str]:
    """The lines of the error that the table causes."""
    with pytest.raises(InputError) as caught:
        read_csv(folder, text, images, **settings)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_all_columns(tmp_path: Path) -> None:
    text = f"{HEADER}b/2.png,query,7,3,71,5\na/1.jpg,train,006,1,,\n./b//3.png,gallery,7,4.0,72,\n"
    listing = read_csv(tmp_path, text)
    assert rows(listing) == [
        ("b/3.png", "gallery", 7, 4, 72, None),
        ("b/2.png", "query", 7, 3, 71, 5),
        ("a/1.jpg", "train", 6, 1, None, None),
    ]
    assert listing.label_names == {}


def test_only_three_columns_are_needed_and_others_do_not_matter(tmp_path: Path) -> None:
    listing = read_csv(tmp_path, "weather,split,person_id,path\nsunny,train,1,1.jpg\n", ["1.jpg"])
    assert rows(listing) == [("1.jpg", "train", 1, None, None, None)]


def test_columns_and_splits_are_mapped(tmp_path: Path) -> None:
    text = "file;part;who;lens\n1.jpg;0;5;2\n2.jpg;9;6;1\n3.jpg;8;7;1\n4.jpg;8;x;1\n"
    listing = read_csv(
        tmp_path,
        text,
        ["1.jpg", "2.jpg", "3.jpg"],
        columns={"path": "file", "split": "part", "person_id": "who", "camera_id": "lens"},
        splits={"0": "train", "9": "query", "8": None},
        delimiter=";",
    )
    assert rows(listing) == [("2.jpg", "query", 6, 1, None, None), ("1.jpg", "train", 5, 2, None, None)]
    assert listing.others == ("3.jpg", "4.jpg")  # left out, so that what is wrong with them does not matter


def test_parquet(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    (tmp_path / "2.jpg").touch()
    table = pa.table(
        {
            "path": ["1.jpg", "2.jpg"],
            "split": pa.array(["query", "gallery"]).dictionary_encode(),
            "person_id": pa.array([3, 4], pa.int16()),
            "camera_id": pa.array([1.0, None]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    listing = read_dataset(facts(table="t.parquet"), tmp_path)
    assert rows(listing) == [("2.jpg", "gallery", 4, None, None, None), ("1.jpg", "query", 3, 1, None, None)]


def test_paths_may_be_absolute_or_lead_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for path in (folder / "1.jpg", tmp_path / "2.jpg", tmp_path / "3.jpg"):
        path.touch()
    text = f"path,split,person_id\n{folder}/1.jpg,train,1\n{tmp_path}/2.jpg,train,2\n../3.jpg,train,3\n"
    listing = read_csv(folder, text, ["1.jpg"])
    ids = dict(zip(listing.manifest["image_id"].to_pylist(), listing.manifest["path"].to_pylist(), strict=True))
    assert ids == {
        "train/1.jpg": "1.jpg",
        f"train{tmp_path}/2.jpg": f"{tmp_path}/2.jpg",
        "train/../3.jpg": "../3.jpg",
    }


def test_clothes_numbers_stay_if_each_has_one_wearer(tmp_path: Path) -> None:
    listing = read_csv(tmp_path, f"{HEADER}1.jpg,train,1,1,90,\n2.jpg,train,1,1,80,\n3.jpg,train,2,1,70,\n")
    assert column(listing, "clothes_id") == {"1.jpg": 90, "2.jpg": 80, "3.jpg": 70}


def test_clothes_numbers_that_repeat_over_persons_become_numbers_of_pairs(tmp_path: Path) -> None:
    listing = read_csv(
        tmp_path, f"{HEADER}1.jpg,train,2,1,1,\n2.jpg,train,1,1,9,\n3.jpg,train,1,1,1,\n4.jpg,train,3,1,,\n"
    )
    assert column(listing, "clothes_id") == {"3.jpg": 0, "2.jpg": 1, "1.jpg": 2, "4.jpg": None}


def test_text_labels_are_numbered_in_sorted_order_and_their_names_kept(tmp_path: Path) -> None:
    text = f"{HEADER}1.jpg,train,Zoe,2,red,\n2.jpg,query,Ann,10,blue,\n3.jpg,gallery,Ann,7,red,\n"
    listing = read_csv(tmp_path, text, labels="text")
    assert column(listing, "person_id") == {"1.jpg": 1, "2.jpg": 0, "3.jpg": 0}
    assert column(listing, "camera_id") == {"1.jpg": 2, "2.jpg": 10, "3.jpg": 7}  # whole numbers stay
    assert column(listing, "clothes_id") == {
        "2.jpg": 0,
        "3.jpg": 1,
        "1.jpg": 2,
    }  # pairs (Ann, blue), (Ann, red), (Zoe, red)
    assert listing.label_names == {"person_id": ("Ann", "Zoe"), "clothes_id": ("blue", "red")}
    write_manifest(listing.manifest, tmp_path / "m.parquet")
    metadata = read_manifest(tmp_path / "m.parquet").schema.metadata
    assert json.loads(metadata[b"label_names"]) == {"person_id": ["Ann", "Zoe"], "clothes_id": ["blue", "red"]}


def test_texts_are_refused_unless_the_settings_say_so(tmp_path: Path) -> None:
    first, problem = refusal(tmp_path, f"{HEADER}1.jpg,train,Zoe,2,1,\n")
    assert first.endswith("t.csv: 1 problem (row 1 is the first below the header)")
    assert problem == "row 1: person_id 'Zoe' is not a whole number (for names set labels: text)"


@given(st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=12))
def test_numbers_of_texts_keep_their_order(values: list[str | None]) -> None:
    numbers, texts = _number_texts(values)
    present = [value for value in values if value is not None]
    if all(_whole_number(value) is not None for value in present):
        assert (numbers, texts) == (values, [])
        return
    assert texts == sorted(set(present))
    assert [None if number is None else texts[number] for number in numbers] == values


@given(st.integers(-(10**24), 10**24), st.sampled_from(["", ".", ".0", ".000"]), st.sampled_from(["", " "]))
def test_whole_numbers(number: int, tail: str, blank: str) -> None:
    assert _whole_number(f"{blank}{number}{tail}{blank}") == number
    assert _whole_number(number) == number


@pytest.mark.parametrize(
    "value", ["", "1.5", "1e3", "one", "--1", "0x1", True, 2.5, float("nan"), float("inf"), "1" * 30]
)
def test_what_is_no_whole_number(value: object) -> None:
    assert _whole_number(value) is None


def test_missing_columns_are_named_with_what_the_table_has(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, "path,part,who\n1.jpg,train,1\n")
    assert line.endswith(
        "lacks the columns split, person_id; it has path, part, who; name its columns under settings: columns:"
    )


def test_a_mapped_column_must_be_there_even_if_it_is_optional(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, f"{HEADER}1.jpg,train,1,1,1,1\n", columns={"camera_id": "lens"})
    assert "lacks the column lens" in line


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, "path,split,person_id,person_id\n1.jpg,train,1,2\n")
    assert line.endswith("has the column person_id more than once")


ROW_PROBLEMS = {
    "missing file": ("9.jpg,train,1,1,1,", "no file at 9.jpg"),
    "no path": (",train,1,1,1,", "path is empty"),
    "no split": ("2.jpg,,1,1,1,", "split is empty"),
    "no person": ("2.jpg,train,,1,1,", "person_id is empty"),
    "other split": ("2.jpg,test,1,1,1,", "split 'test' has no role; under roles: are gallery, query, train, val"),
    "person no number": ("2.jpg,train,p1,1,1,", "person_id 'p1' is not a whole number (for names set labels: text)"),
    "camera no number": ("2.jpg,train,1,1.5,1,", "camera_id '1.5' is not a whole number (for names set labels: text)"),
    "camera too large": ("2.jpg,train,1,2147483648,1,", "camera_id '2147483648' is too large"),
    "clothes too large": (f"2.jpg,train,1,1,{2**63},", f"clothes_id '{2**63}' is too large"),
    "twice": ("1.jpg,train,1,1,1,", "train/1.jpg stands in row 1 already"),
    "twice, other spelling": (".//1.jpg,train,1,1,1,", "train/1.jpg stands in row 1 already"),
    "two persons": ("1.jpg,val,2,1,1,", "1.jpg has person_id 1 in row 1, here 2"),
    "train and query": ("2.jpg,query,1,1,1,", "person_id 1 is in query and, in row 1, in train"),
    "train and gallery": ("2.jpg,gallery,1,1,1,", "person_id 1 is in gallery and, in row 1, in train"),
}


@pytest.mark.parametrize("case", ROW_PROBLEMS)
def test_every_problem_is_said_with_its_row(tmp_path: Path, case: str) -> None:
    line, said = ROW_PROBLEMS[case]
    assert refusal(tmp_path, f"{HEADER}1.jpg,train,1,1,1,\n{line}\n", ["1.jpg", "2.jpg"])[1:] == [f"row 2: {said}"]


def test_split_values_must_be_mapped(tmp_path: Path) -> None:
    lines = refusal(tmp_path, f"{HEADER}1.jpg,0,1,1,1,\n2.jpg,2,1,1,1,\n", splits={"0": "train", "1": "query"})
    assert lines[1:] == ["row 2: split '2' is not under settings: splits:, which has 0, 1"]


def test_the_first_ten_problems_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    text = HEADER + "".join(f"{n}.jpg,train,x{n},1,,\n" for n in range(1, 26))
    lines = refusal(tmp_path, text)
    assert lines[0].endswith("t.csv: 25 problems (row 1 is the first below the header)")
    assert [int(re.findall(r"row (\d+)", line)[0]) for line in lines[1:11]] == list(range(1, 11))
    assert lines[11:] == ["and 15 more"]


def test_a_person_in_train_and_val_is_no_problem(tmp_path: Path) -> None:
    assert len(rows(read_csv(tmp_path, f"{HEADER}1.jpg,train,1,1,,\n2.jpg,val,1,1,,\n"))) == 2


def test_an_image_may_be_in_two_splits(tmp_path: Path) -> None:
    listing = read_csv(tmp_path, f"{HEADER}1.jpg,query,1,1,,\n1.jpg,gallery,1,1,,\n")
    assert listing.manifest["image_id"].to_pylist() == ["gallery/1.jpg", "query/1.jpg"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as csv"),
        (b"path,split,person_id\n1.jpg,train\n", "cannot be read as csv"),
        (b"path,split,person_id\n\xff.jpg,train,1\n", "cannot be read as csv"),
        (HEADER.encode(), "no image"),
    ],
)
def test_damaged_tables(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_dataset(facts(), tmp_path)


def test_damaged_parquet_and_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read_dataset(facts(table="t.parquet"), tmp_path)
    with pytest.raises(InputError, match=r"expected a \.csv or \.parquet file"):
        read_dataset(facts(table="t.xlsx"), tmp_path)


def test_a_table_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(InputError, match=r"table .*t\.csv cannot be read as csv: "):
        read_dataset(facts(), tmp_path)


def test_commas_quotes_and_byte_order_marks(tmp_path: Path) -> None:
    (tmp_path / "a, b.jpg").touch()
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfpath,split,person_id\r\n"a, b.jpg",train,1\r\n')
    assert rows(read_dataset(facts(), tmp_path)) == [("a, b.jpg", "train", 1, None, None, None)]


def test_pku_reid_74_as_it_is(real_images: Path) -> None:
    folder = real_images / "pku_reid_74"
    listing = read_dataset(load_facts("pku_reid_74"), folder)
    with (folder / "labels.csv").open() as stream:
        expected = sorted(
            (f"{row['split']}/{row['path']}", int(row["person_id"]), int(row["camera_id"]))
            for row in csv.DictReader(stream)
        )
    table = listing.manifest
    found = zip(*(table[name].to_pylist() for name in ("image_id", "person_id", "camera_id")), strict=True)
    assert list(found) == expected
    assert Counter(table["split"].to_pylist()) == {"train": 992, "query": 96, "gallery": 96}
    assert table["clothes_id"].null_count == table["tracklet_id"].null_count == 1184
    assert (listing.problems, listing.unmatched, listing.others) == ((), (), ())


@pytest.mark.parametrize(("separator", "name", "written"), [
    ("\t", "the tab", r'"\t"'), (";", "the semicolon", '";"'), ("|", "the bar", '"|"'),
])  # fmt: skip
def test_another_separator_is_named_and_as_the_message_writes_it_it_works(
    separator: str, name: str, written: str, tmp_path: Path
) -> None:
    text = HEADER + "a.jpg,train,1,2,3,4\nb.jpg,query,2,2,3,5\n"
    other = text.replace(",", separator)
    (message,) = refusal(tmp_path, other, ["a.jpg", "b.jpg"])
    assert f"its separator seems to be {name}: write settings: {{delimiter: {written}}}" in message
    advised = parse_yaml(message.partition("write settings: ")[2])
    expected = rows(read_csv(tmp_path, text, ["a.jpg", "b.jpg"]))
    assert rows(read_csv(tmp_path, other, ["a.jpg", "b.jpg"], **advised)) == expected
    (message,) = refusal(tmp_path, text, ["a.jpg", "b.jpg"], delimiter=separator)
    assert "its separator seems to be the comma" in message


def test_a_table_whose_rows_have_commas_in_another_number_than_its_header_is_told_its_separator(tmp_path: Path) -> None:
    (message,) = refusal(tmp_path, "path;split;person_id;score\na.jpg;train;1;0,5\n", ["a.jpg"])
    assert "the semicolon" in message


def test_a_table_that_lacks_a_column_is_still_told_which(tmp_path: Path) -> None:
    (message,) = refusal(tmp_path, "path;x,split\na.jpg,train\n")
    assert "lacks the columns path, person_id; it has path;x, split" in message


def test_backslashes_are_separators_where_no_file_has_the_literal_name(tmp_path: Path) -> None:
    text = "path,split,person_id\ncam1\\a.jpg,train,1\nx\\b.jpg,query,2\n"
    listing = read_csv(tmp_path, text, ["cam1/a.jpg", "x\\b.jpg", "x/b.jpg"])
    assert column(listing, "person_id") == {"cam1/a.jpg": 1, "x\\b.jpg": 2}
    text += "cam1/a.jpg,train,1\ny\\no.jpg,query,2\n"
    _, *lines = refusal(tmp_path, text, [])
    assert lines == ["row 3: train/cam1/a.jpg stands in row 1 already", "row 4: no file at y/no.jpg"]


def test_paths_that_are_relative_to_a_folder_above_or_below_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").touch()
    header = "path,split,person_id\n"
    for path, base in (("mine/images/a.jpg", tmp_path), ("a.jpg", folder / "images")):
        _, line, other = refusal(folder, f"{header}{path},train,1\nnowhere.jpg,query,2\n", [])
        assert line == f"row 1: no file at {path}; it is below {base}, but paths are relative to {folder}"
        assert other == "row 2: no file at nowhere.jpg"
