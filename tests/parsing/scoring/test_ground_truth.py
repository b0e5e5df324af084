"""Images with label maps of people: how they are found, read, and cut."""

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import BadImageError, InputError
from pipeline.images import encode_image, encode_label_map
from pipeline.labels import LIP, LabelScheme
from pipeline.parsing.scoring.ground_truth import (
    LabelledImage,
    TruthScheme,
    cut_to_person,
    find_labelled,
    read_examples,
    read_labelled,
    truth_scheme,
)

TRUTH = truth_scheme(LIP, LIP.clothes)


@pytest.fixture
def folders(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder in (images / "c1", labels / "c1"):
        folder.mkdir(parents=True)
    for name in ("a.png", "c1/b.JPG", "c1/a.jpeg"):
        picture = Image.fromarray(np.zeros((6, 4, 3), np.uint8))
        picture.save(images / name, "PNG" if name.endswith("png") else "JPEG")
    (labels / "a.png").write_bytes(encode_label_map(np.full((6, 4), 5, np.uint8)))
    np.save(labels / "c1" / "b.npy", np.full((6, 4), 9))
    (images / "notes.txt").write_text("no image")
    return images, labels


def test_images_of_all_folders_are_found_with_their_label_maps(folders):
    images, labels = folders
    found = find_labelled(images, labels)
    assert [(item.name, item.labels and item.labels.name) for item in found] == [
        ("a.png", "a.png"), ("c1/a.jpeg", None), ("c1/b.JPG", "b.npy"),
    ]  # fmt: skip
    assert read_labelled(found[0], TRUTH).target.max() == 5
    assert read_labelled(found[2], TRUTH).target.min() == 9
    with pytest.raises(BadImageError, match=r"no_label_map: no label map for c1/a\.jpeg"):
        read_labelled(found[1], TRUTH)


def test_grey_label_maps_saved_in_colour_hold_numbers(folders):
    images, labels = folders
    numbers = np.arange(24, dtype=np.uint8).reshape(6, 4) % 20
    Image.fromarray(numbers).convert("RGB").save(labels / "a.png")
    assert np.array_equal(read_labelled(find_labelled(images, labels)[0], TRUTH).target, numbers)


def test_label_maps_inside_the_folder_of_images_are_no_images(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "a.png").write_bytes(encode_image(np.zeros((3, 3, 3), np.uint8)))
    (tmp_path / "labels" / "a.png").write_bytes(encode_label_map(np.zeros((3, 3), np.uint8)))
    assert [item.name for item in find_labelled(tmp_path, tmp_path / "labels")] == ["a.png"]


def test_folders_that_cannot_be_right_are_refused(folders, tmp_path):
    images, labels = folders
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((tmp_path / "none", labels), "no folder .*none with images"),
        ((images, tmp_path / "none"), "no folder .*none with label maps"),
        ((images, images), "lie in one folder"),
        ((tmp_path / "empty", labels), "no images in"),
        ((images, tmp_path / "empty"), "none of the 3 images .* for a.png it would be a.png there"),
    ):
        with pytest.raises(InputError, match=message):
            find_labelled(*arguments)
    (images / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.jpg and a.png would have the same label map"):
        find_labelled(images, labels)


def save_pair(folder, labels, image=None):
    (folder / "x.png").write_bytes(encode_image(np.zeros((6, 4, 3), np.uint8)) if image is None else image)
    np.save(folder / "x.npy", labels)
    return LabelledImage("x.png", folder / "x.png", folder / "x.npy")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros((4, 6), np.uint8), "label_map_size"),
        (np.full((6, 4), 20), "label_map_values"),
        (np.full((6, 4), -1), "label_map_values"),
        (np.full((6, 4), 300), "label_map_values"),
        (np.full((6, 4), 0.5), "label_map_unreadable"),
    ],
)
def test_label_maps_that_do_not_fit_are_told(tmp_path, labels, reason):
    with pytest.raises(BadImageError) as caught:
        read_labelled(save_pair(tmp_path, labels), TRUTH)
    assert caught.value.reason == reason


def test_void_pixels_are_allowed_and_nobody(tmp_path):
    labels = np.full((6, 4), 255)
    labels[0, 0] = 5
    example = read_labelled(save_pair(tmp_path, labels), TRUTH)
    assert TRUTH.person(example.target).sum() == 1
    full = truth_scheme(LabelScheme("full", tuple(map(str, range(256))), frozenset({1})), frozenset({1}))
    assert full.person(example.target).all()


def test_exif_rotation_is_applied_before_sizes_are_compared(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "x.jpg", exif=exif)
    np.save(tmp_path / "x.npy", np.ones((6, 4), int))
    item = LabelledImage("x.jpg", tmp_path / "x.jpg", tmp_path / "x.npy")
    assert read_labelled(item, TRUTH).image.shape == (6, 4, 3)
    np.save(tmp_path / "x.npy", np.ones((4, 6), int))
    with pytest.raises(BadImageError, match="EXIF rotation"):
        read_labelled(item, TRUTH)


def test_translated_numbers_may_lie_beyond_the_labels(tmp_path):
    scheme = TruthScheme("wide", ("none", "skin"), frozenset({7}), frozenset({0}))
    example = read_labelled(save_pair(tmp_path, np.full((6, 4), 40)), scheme, lambda numbers: numbers // 5)
    assert (example.target == 8).all()


def test_views_are_cut_around_the_person_of_the_truth(tmp_path):
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 30:40] = 5
    labels[0, 0] = 255
    example = read_labelled(save_pair(tmp_path, labels, encode_image(np.zeros((60, 80, 3), np.uint8))), TRUTH)
    view = cut_to_person(example, TRUTH, (44, 22))
    assert view.image.shape == (44, 22, 3)
    rows = np.flatnonzero((view.target == 5).any(axis=1))
    # the box is 23.2 high, rounded to an even number: 24
    assert (len(rows), 255 in view.target) == (pytest.approx(44 * 20 / 24, abs=1), False)
    labels[:] = 0
    with pytest.raises(BadImageError, match="no_person"):
        cut_to_person(
            read_labelled(save_pair(tmp_path, labels, encode_image(np.zeros((60, 80, 3), np.uint8))), TRUTH),
            TRUTH,
            (44, 22),
        )


def test_bad_ones_are_handed_over_and_the_rest_goes_on(folders):
    images, labels = folders
    bad = []
    good = list(
        read_examples(
            find_labelled(images, labels),
            lambda item: read_labelled(item, TRUTH),
            lambda item, error: bad.append((item.name, error.reason)),
        )
    )
    assert [example.name for example in good] == ["a.png", "c1/b.JPG"]
    assert bad == [("c1/a.jpeg", "no_label_map")]
