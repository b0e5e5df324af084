"""The manifest that rows become: order, chunks, numbers of outfits, names that are not UTF-8."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.datasets.builder as builder_module
from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.manifest import MANIFEST_SCHEMA
from pipeline.errors import InputError

outfits = st.one_of(st.none(), st.text("ab1", max_size=2))
maybe = st.one_of(st.none(), st.integers(-5, 2**31 - 1))


@settings(max_examples=60)
@given(
    entries=st.dictionaries(
        st.tuples(st.sampled_from(["train", "query"]), st.text("ab/é0", min_size=1, max_size=5)),
        st.tuples(st.integers(-1, 5), maybe, outfits, maybe),
        min_size=1,
        max_size=30,
    ),
    chunk=st.integers(1, 7),
)
def test_table_holds_every_row_once_sorted_with_ranked_pairs(
    entries: dict[tuple[str, str], tuple[int, int | None, str | None, int | None]], chunk: int
) -> None:
    entries = {(split, path.lstrip("/") or "x"): labels for (split, path), labels in entries.items()}
    rows = ManifestBuilder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder_module, "CHUNK_ROWS", chunk)
        for (split, path), (person, camera, outfit, tracklet) in entries.items():
            rows.add(path, split, person, camera, outfit, tracklet)
    table = rows.table()
    pairs = sorted({(person, outfit) for person, _, outfit, _ in entries.values() if outfit is not None})
    expected = [
        {
            "image_id": f"{split}/{path}",
            "path": path,
            "split": split,
            "person_id": person,
            "camera_id": camera,
            "clothes_id": None if outfit is None else pairs.index((person, outfit)),
            "tracklet_id": tracklet,
        }
        for (split, path), (person, camera, outfit, tracklet) in entries.items()
    ]
    expected.sort(key=lambda row: str(row["image_id"]).encode())
    assert table.to_pylist() == expected
    assert table.schema.equals(MANIFEST_SCHEMA)


def test_final_clothes_numbers_stay() -> None:
    rows = ManifestBuilder()
    rows.add("b.jpg", "train", 1, clothes_id=1004)
    rows.add("a.jpg", "train", 1, clothes_id=7)
    assert rows.table()["clothes_id"].to_pylist() == [7, 1004]


def test_both_kinds_of_clothes_numbers_are_refused() -> None:
    rows = ManifestBuilder()
    rows.add("a.jpg", "train", 1, outfit=1)
    with pytest.raises(ValueError, match="not both"):
        rows.add("b.jpg", "train", 1, clothes_id=1)


def test_names_that_are_not_utf8_are_unmatched() -> None:
    rows = ManifestBuilder()
    rows.add("t/\udcff.jpg", "train", 1)
    rows.add("t/a.jpg", "train", 1)
    assert rows.unmatched == ["t/\\udcff.jpg"]
    assert rows.table()["path"].to_pylist() == ["t/a.jpg"]


def test_the_same_image_twice_in_a_split_is_refused() -> None:
    rows = ManifestBuilder()
    rows.add("a.jpg", "train", 1)
    rows.add("a.jpg", "train", 2)
    with pytest.raises(InputError, match=r"train/a\.jpg occurs more than once"):
        rows.table()


def test_no_row_is_refused() -> None:
    with pytest.raises(InputError, match="no image whose name follows its layout"):
        ManifestBuilder().table()


def test_names_of_labels_are_in_the_metadata() -> None:
    rows = ManifestBuilder()
    rows.add("a.jpg", "train", 0)
    assert not rows.table().schema.metadata
    rows.label_names["person_id"] = ["Ann"]
    assert json.loads(rows.table().schema.metadata[b"label_names"]) == {"person_id": ["Ann"]}
