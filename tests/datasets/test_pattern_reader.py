"""The reader of paths by regular expressions: what a YAML file may say, and what becomes of it."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.catalog import DatasetFacts, DatasetListing, check_facts, load_facts, read_dataset
from pipeline.errors import InputError


def facts(rules: list[dict[str, Any]], **changes: Any) -> DatasetFacts:
    tree: dict[str, Any] = dict.fromkeys(("title", "home", "access", "terms", "layout"), "-")
    tree |= {"name": "mine", "reader": "pattern", "markers": ["a"], "protocols": ["general"]}
    tree |= {"roles": {"train": ["train"], "query": ["query"], "gallery": ["gallery"]}}
    return check_facts(tree | {"settings": {"rules": rules}} | changes, "data set file mine.yaml")


def read(folder: Path, names: list[str], rules: list[dict[str, Any]]) -> DatasetListing:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return read_dataset(facts(rules), folder)


def labels(listing: DatasetListing) -> dict[str, tuple[object, ...]]:
    columns = ("split", "person_id", "camera_id", "clothes_id", "tracklet_id")
    return {row["path"]: tuple(row[name] for name in columns) for row in listing.manifest.to_pylist()}


def test_the_first_rule_that_fits_counts(tmp_path: Path) -> None:
    rules = [
        {"folder": "a", "split": "query", "pattern": r"(?P<person>\d+)_q"},
        {"folder": "a", "split": "gallery", "pattern": r"(?P<person>\d+)_.*"},
        {"folder": "a/b", "split": "train", "pattern": r"(?P<person>\d+)"},
    ]
    listing = read(tmp_path, ["a/1_q.jpg", "a/1_x.jpg", "a/x.jpg"], rules[:2])
    assert labels(listing) == {
        "a/1_q.jpg": ("query", 1, None, None, None),
        "a/1_x.jpg": ("gallery", 1, None, None, None),
    }
    assert listing.unmatched == ("a/x.jpg",)


def test_outfits_that_are_numbers_sort_as_numbers_and_beside_words(tmp_path: Path) -> None:
    rule = {"folder": "a", "split": "train", "pattern": r"(?P<person>\d+)_(?P<outfit>[^_]+)_\d"}
    names = ["a/1_10_1.jpg", "a/1_9_1.jpg", "a/1_09_2.jpg", "a/1_red_1.jpg", "a/2_0_1.jpg"]
    outfits = {name: label[3] for name, label in labels(read(tmp_path, names, [rule])).items()}
    assert outfits == dict(zip(names, [1, 0, 0, 2, 3], strict=True))


def test_tracklets_are_numbered_as_they_are_met_and_apart_in_each_folder(tmp_path: Path) -> None:
    pattern = r"(?P<person>\d+)/(?P<tracklet>t\d+)/\d+"
    rules = [{"folder": part, "split": part, "pattern": pattern} for part in ("query", "gallery")]
    names = ["query/1/t2/1.jpg", "query/1/t2/2.jpg", "query/1/t1/1.jpg", "gallery/1/t1/1.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = read_dataset(facts(rules, markers=["query"]), tmp_path)
    assert {name: label[4] for name, label in labels(listing).items()} == dict(zip(names, [1, 1, 0, 2], strict=True))


def test_the_folder_itself_and_a_split_that_the_path_says(tmp_path: Path) -> None:
    rule = {"folder": ".", "pattern": r"(?P<split>\w+)/(?P<person>\d+)"}
    listing = read(tmp_path, ["a/1.jpg", "train/1.jpg", "query/2.jpg", "other/3.jpg"], [rule])
    assert {name: label[:2] for name, label in labels(listing).items()} == {
        "train/1.jpg": ("train", 1), "query/2.jpg": ("query", 2),
    }  # fmt: skip
    assert listing.unmatched == ("a/1.jpg", "other/3.jpg")  # their splits have no role


def test_the_example_of_the_documentation_is_accepted(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "data_manifests/README.md").read_text().partition("## Labels in paths")[2]
    (tmp_path / "mall.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    for name in ("train/0007_o2_c3_1.jpg", "query/9_o1_c1_x.jpg", "gallery/9_o1_c2_x.jpg", "gallery/9_c2_x.jpg"):
        (tmp_path / "mall" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mall" / name).touch()
    listing = read_dataset(load_facts(str(tmp_path / "mall.yaml")), tmp_path / "mall")
    assert labels(listing) == {
        "train/0007_o2_c3_1.jpg": ("train", 7, 3, 0, None),
        "query/9_o1_c1_x.jpg": ("query", 9, 1, 1, None),
        "gallery/9_o1_c2_x.jpg": ("gallery", 9, 2, 1, None),
    }
    assert listing.unmatched == ("gallery/9_c2_x.jpg",)


@pytest.mark.parametrize(
    "name", ["x1_c1", "1_c1234567890", "1234567890123456789_c1", "-2_c1", "1_cx", "\u0661_c1", "1_c\u0661"]
)
def test_labels_that_are_no_numbers_or_too_large_are_unmatched(tmp_path: Path, name: str) -> None:
    rule = {"folder": "a", "split": "train", "pattern": r"(?P<person>[^_]+)_c(?P<camera>.+)"}
    listing = read(tmp_path, ["a/-1_c2.jpg", f"a/{name}.jpg"], [rule])
    assert labels(listing) == {"a/-1_c2.jpg": ("train", -1, 2, None, None)}
    assert listing.unmatched == (f"a/{name}.jpg",)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"folder": "a", "split": "x", "pattern": "(?P<person>"}, r"settings\.rules\.0\.pattern: .* no regular"),
        ({"folder": "a", "split": "x", "pattern": r"(\d+)"}, r"has no group \(\?P<person>"),
        ({"folder": "a", "split": "x", "pattern": r"(?P<person>\d)(?P<cam>\d)"}, "has the group cam; there are person"),
        ({"folder": "../a", "split": "x", "pattern": r"(?P<person>\d)"}, "must be a folder below the data set's"),
        ({"folder": "/a", "split": "x", "pattern": r"(?P<person>\d)"}, "must be a folder below the data set's"),
        ({"folder": "a/", "split": "x", "pattern": r"(?P<person>\d)"}, "must be a folder below the data set's"),
        ({"folder": "a", "pattern": r"(?P<person>\d)"}, "give a split, or a pattern with the group split"),
        ({"folder": "a", "split": "x", "pattern": r"(?P<split>x)(?P<person>\d)"}, "group split, and not both"),
        ({"folder": "a", "split": "x", "pattern": r"(?P<person>\d)", "kind": 1}, "Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_wrong_rules_are_refused_in_one_line(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        facts([rule])
    assert "\n" not in str(caught.value)
