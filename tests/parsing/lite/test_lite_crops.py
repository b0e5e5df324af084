"""Boxes, crops and what is read from disk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lite_samples import ccp_person, picture_of

from pipeline.errors import InputError
from pipeline.images import encode_label_map
from pipeline.parsing.lite.targets import BAG, IGNORE
from pipeline.parsing.lite.training.crops import (
    Box,
    Example,
    cut,
    detector_box,
    detector_view,
    person_box,
    shrink,
    whole_view,
)
from pipeline.parsing.lite.training.examples import read_photos, read_walkers


def example() -> Example:
    labels = ccp_person()
    return Example("one", picture_of(labels, 0), labels)


def test_person_box_is_tight_and_leaves_out_ignored_pixels():
    target = np.zeros((20, 30), np.uint8)
    target[5:9, 10:12] = 5
    target[0, 0] = IGNORE
    assert person_box(target) == Box(10, 5, 2, 4)
    with pytest.raises(ValueError, match="no person"):
        person_box(np.zeros((3, 3), np.uint8))


@given(st.integers(-5, 50), st.integers(-5, 50), st.integers(1, 90), st.integers(1, 200))
def test_detector_box_is_two_to_one_and_holds_the_person(left, top, width, height):
    box = detector_box(Box(left, top, width, height))
    assert box.height == 2 * box.width
    assert box.height >= 1.08 * height - 2
    # to the nearest pixel
    assert box.left <= left + 1
    assert box.top <= top + 1
    assert box.left + box.width >= left + width - 1
    assert box.top + box.height >= top + height - 1


@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 40), st.integers(1, 40))
def test_cut_repeats_the_edge_and_labels_it_background(left, top, width, height):
    rng = np.random.default_rng(0)
    source = Example(
        "x", rng.integers(0, 256, (15, 12, 3), dtype=np.uint8), rng.integers(1, 20, (15, 12), dtype=np.uint8)
    )
    view = cut(source, Box(left, top, width, height), height, width)
    for y, x in np.ndindex(height, width):
        row, column = top + y, left + x
        near = source.image[min(max(row, 0), 14), min(max(column, 0), 11)]
        assert view.image[y, x].tolist() == near.tolist()
        inside = 0 <= row < 15 and 0 <= column < 12
        assert view.target[y, x] == (source.target[row, column] if inside else 0)


def test_views_have_their_sizes_and_only_labels_of_the_source():
    source = example()
    for view in (detector_view(source, (64, 32)), whole_view(source, (50, 20)), shrink(source, 60)):
        assert view.image.shape[:2] == view.target.shape
        assert set(np.unique(view.target)) <= set(np.unique(source.target))
    assert shrink(source, 60).target.shape == (60, 40)
    assert shrink(source, 400) is source


def test_photos_are_divided_by_number(ccp_folder):
    photos = read_photos(ccp_folder)
    assert [photo.name for photo in photos.train] == ["0001", "0002", "0003", "0004"]
    assert [photo.name for photo in photos.validation] == ["0005", "0010"]
    assert photos.train[0].target[40, 40] == 5
    with_bags = read_photos(ccp_folder, bags=True)
    assert [(photos.train[0].target == BAG).any(), (with_bags.train[0].target == BAG).any()] == [False, True]
    assert not (with_bags.validation[0].target == BAG).any()


def test_photos_without_a_person_are_left_out(ccp_folder):
    (ccp_folder / "labels" / "0002.png").write_bytes(encode_label_map(np.zeros((120, 80), np.uint8)))
    assert [photo.name for photo in read_photos(ccp_folder).train] == ["0001", "0003", "0004"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "labels" / "0003.png").unlink(), r"0003.jpg and its label map .*missing"),
        (lambda folder: (folder / "photos" / "0003.jpg").write_bytes(b"x"), r"0003.jpg.*not_an_image"),
        (
            lambda folder: (folder / "labels" / "0003.png").write_bytes(encode_label_map(np.zeros((5, 6), np.uint8))),
            r"0003.png is 6 x 5 pixels, its image 80 x 120",
        ),
        (
            lambda folder: (folder / "photos" / "0003.jpg").rename(folder / "photos" / "three.jpg"),
            "must be named by its number",
        ),
        (lambda folder: (folder / "label_list.json").unlink(), "list of CCP labels not found"),
        (lambda folder: [path.unlink() for path in (folder / "photos").iterdir()], "no photographs at"),
    ],
)
def test_damaged_folders_are_named(ccp_folder, damage, message):
    damage(ccp_folder)
    with pytest.raises(InputError, match=message):
        read_photos(ccp_folder)


def test_walkers_are_read_with_their_labels(walkers_folder):
    walkers = read_walkers(walkers_folder, ["query", "gallery"])
    assert len(walkers) == 4
    assert walkers[0].target[20, 16] == 5
    assert [walker.name for walker in read_walkers(walkers_folder, ["train"], limit=2)] == [
        "0001_1_c1_0",
        "0001_1_c1_2",
    ]


def test_missing_and_foreign_walkers_are_refused(walkers_folder):
    with pytest.raises(InputError, match="ccaf-pipeline synth"):
        read_walkers(walkers_folder, ["nothing"])
    labels = np.full((64, 32), 20, np.uint8)
    (walkers_folder / "labels" / "train" / "0001_1_c1_0.png").write_bytes(encode_label_map(labels))
    with pytest.raises(InputError, match="label 20 is not one of LIP's 20"):
        read_walkers(walkers_folder, ["train"])
