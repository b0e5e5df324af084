"""Counts of a manifest beside the published ones."""

from typing import Any

import pyarrow as pa
import pytest

from pipeline.datasets.catalog import DatasetFacts
from pipeline.datasets.counts import (
    Count,
    as_columns,
    compare_counts,
    count_labels,
    counts_as_json,
    counts_as_text,
    differences,
)
from pipeline.datasets.manifest import MANIFEST_SCHEMA


def manifest() -> pa.Table:
    rows = [
        # split, person, camera, clothes, tracklet
        ("train", 1, 1, 10, None),
        ("train", 1, 2, 11, None),
        ("train", 2, 1, 12, None),
        ("query", 3, 1, None, 5),
        ("gallery", 3, 2, None, 6),
        ("gallery", 0, 2, None, 6),
        ("gallery", -1, 2, None, 7),
        ("extra", 9, None, None, None),
    ]
    names = ("split", "person_id", "camera_id", "clothes_id", "tracklet_id")
    tree = [
        {**dict(zip(names, row, strict=True)), "path": f"{n}.jpg", "image_id": f"{n}"} for n, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(tree, schema=MANIFEST_SCHEMA)


def facts(counts: list[dict[str, Any]]) -> DatasetFacts:
    tree: dict[str, Any] = dict.fromkeys(("title", "home", "access", "terms", "layout"), "-")
    tree |= {"name": "mine", "reader": "ltcc", "markers": ["train"], "protocols": ["cc"], "no_person_ids": [-1, 0]}
    tree |= {"roles": {"gallery": ["gallery"], "query": ["query"], "train": ["train"]}, "counts": counts}
    return DatasetFacts.model_validate(tree)


PUBLISHED = [
    {"of": "all", "images": 8},
    {"of": "train", "identities": 2, "images": 4},
    {"of": "test", "splits": ["query", "gallery"], "identities": 1, "tracklets": 4, "uncertain": ["tracklets"]},
    {"of": "val", "images": 2},
]


def test_labels_are_counted_once_and_nobody_is_no_identity() -> None:
    table = manifest()
    assert count_labels(table) == {"identities": 6, "images": 8, "clothes": 3, "cameras": 2, "tracklets": 3}
    assert count_labels(table, [-1, 0])["identities"] == 4
    assert count_labels(table.slice(0, 3))["tracklets"] is None
    assert count_labels(table.slice(0, 0)) == {
        "identities": 0, "images": 0, "clothes": None, "cameras": None, "tracklets": None,
    }  # fmt: skip


def test_rows_are_the_published_ones_and_every_other_split() -> None:
    rows = compare_counts(manifest(), facts(PUBLISHED))
    assert [row.of for row in rows] == ["all", "train", "test", "val", "query", "gallery", "extra"]
    found = {row.of: row.counts["images"].found for row in rows}
    assert found == {"all": 8, "train": 3, "test": 4, "val": 0, "query": 1, "gallery": 3, "extra": 1}
    assert [row.of for row in compare_counts(manifest(), facts([]))] == ["all", "train", "query", "gallery", "extra"]


def test_only_verified_numbers_make_a_difference() -> None:
    rows = compare_counts(manifest(), facts(PUBLISHED))
    assert differences(rows) == ["train: 3 images, published are 4", "val: 0 images, published are 2"]
    test = next(row for row in rows if row.of == "test")
    assert test.counts["tracklets"] == Count(3, 4, uncertain=True)
    assert test.counts["tracklets"].differs


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (Count(17896), "17,896"),
        (Count(None), "-"),
        (Count(17896, 17896), "17,896/17,896 ="),
        (Count(5, 17896), "5/17,896 !"),
        (Count(5, 17896, uncertain=True), "5/17,896 ?"),
        (Count(17896, 17896, uncertain=True), "17,896/17,896 ="),
        (Count(None, 4), "-/4 !"),
    ],
)
def test_marks(count: Count, text: str) -> None:
    assert count.text == text


def test_text_and_json_say_the_same() -> None:
    rows = compare_counts(manifest(), facts(PUBLISHED))
    lines = counts_as_text(rows).splitlines()
    assert lines[0].split() == ["split", "identities", "images", "clothes", "cameras", "tracklets"]
    assert lines[2].split() == ["train", "2/2", "=", "3/4", "!", "3", "2", "-"]
    assert lines[3].split() == ["test", "1/1", "=", "4", "-", "2", "3/4", "?"]
    assert lines[-1].startswith("found/published: ")
    assert counts_as_json(rows)["test"]["tracklets"] == {
        "found": 3, "published": 4, "uncertain": True, "differs": True,
    }  # fmt: skip
    assert "found/published" not in counts_as_text(compare_counts(manifest(), facts([])))


def test_columns_are_aligned() -> None:
    assert as_columns([["a", "bb"], ["cccc", "d"]]) == "a     bb\ncccc   d"
    assert as_columns([["a", "bb"], ["cccc", "d"]], numbers=False) == "a     bb\ncccc  d"
