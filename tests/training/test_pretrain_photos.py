"""Labelled photographs for CLIP pre-training: what is cut out, what is said of it, what is refused."""

import json

import cv2
import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.training.pretrain_data import CaptionedImages, FactorPhrases
from pipeline.training.pretrain_photos import join, photos_sha256, read_labelled_photos

NAMES = ["null", "coat", "hat", "skin", "jeans"]
SIZE = (64, 32)


def add_photo(folder, name, regions, shape=(80, 120)):
    """A grey photograph with rectangles: label -> rows, columns; each has its label's colour."""
    image, labels = np.full((*shape, 3), 40, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
    for label, place in regions.items():
        labels[place] = label
        image[place] = 60 + 45 * label
    cv2.imwrite(str(folder / "photos" / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    cv2.imwrite(str(folder / "labels" / f"{name}.png"), labels)


@pytest.fixture
def folder(tmp_path):
    for name in ("photos", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "label_list.json").write_text(json.dumps(NAMES))
    body = (slice(10, 40), slice(40, 60))
    legs = (slice(40, 70), slice(40, 60))
    add_photo(tmp_path, "0001", {1: body, 4: legs, 2: (slice(10, 12), slice(40, 41))})  # a hat of two pixels
    add_photo(tmp_path, "0002", {1: body, 3: legs})
    add_photo(tmp_path, "0003", {})
    return tmp_path


def test_garments_are_factors_and_captions(folder):
    data = read_labelled_photos(folder, SIZE)
    assert data.images.shape == (2, *SIZE, 3), "nobody is labelled in the third"
    assert [factor.name for factor in data.factors] == ["photo: coat", "photo: jeans"]
    assert all(factor.of_clothes for factor in data.factors)
    assert data.factors[1].phrases == ("a photo of a person without jeans.", "a photo of a person in jeans.")
    assert data.values.tolist() == [[1, 1], [1, 0]]
    assert data.captions == {
        "caption_identity": ["a photo of a person."] * 2,
        "caption_clothes": ["a photo of clothes: coat and jeans.", "a photo of clothes: coat."],
        "caption_full": ["a photo of a person, wearing coat and jeans.", "a photo of a person, wearing coat."],
    }


def test_a_person_fills_the_image_and_keeps_its_proportions(folder):
    """60 x 20 pixels with a margin of a twentieth, 66 high and so 33 wide: a share of 60/66 and 20/33."""
    image = read_labelled_photos(folder, SIZE).images[0].float().mean(dim=2)
    person = (image - 40).abs() > 25
    rows, columns = person.any(dim=1), person.any(dim=0)
    assert abs(int(rows.sum()) - 64 * 60 / 66) <= 2
    assert abs(int(columns.sum()) - 32 * 20 / 33) <= 2


def test_factors_of_one_kind_do_not_apply_to_the_other(folder):
    photos = read_labelled_photos(folder, SIZE)
    captions = {kind: ["a", "b", "c"] for kind in photos.captions}
    hair = FactorPhrases("hair", False, ("x", "y"))
    own = CaptionedImages(torch.zeros(3, *SIZE, 3, dtype=torch.uint8), (hair,), torch.ones(3, 1).long(), captions)
    both = join(own, photos)
    assert [factor.name for factor in both.factors] == ["hair", "photo: coat", "photo: jeans"]
    assert both.values.tolist() == [[1, -1, -1]] * 3 + [[-1, 1, 1], [-1, 1, 0]]
    assert both.captions["caption_clothes"][2:4] == ["c", "a photo of clothes: coat and jeans."]
    assert torch.equal(both.images[3:], photos.images)


def test_the_hash_is_of_photographs_and_labels(folder):
    before = photos_sha256(folder)
    assert photos_sha256(folder) == before
    add_photo(folder, "0002", {2: (slice(0, 9), slice(0, 9))})
    assert photos_sha256(folder) != before


def test_other_layouts_are_refused(folder):
    def refuses(message):
        with pytest.raises(InputError, match=message):
            read_labelled_photos(folder, SIZE)

    (folder / "label_list.json").write_text(json.dumps(NAMES[:2]))
    refuses(r"0001.png has numbers that are no place in the 2 names")
    (folder / "label_list.json").write_text(json.dumps({"null": 0}))
    refuses("list of labels")
    (folder / "label_list.json").write_text(json.dumps(NAMES))
    (folder / "photos" / "0001.jpg").write_bytes(b"no photograph")
    refuses("0001.jpg or its labels")
    (folder / "labels" / "0001.png").unlink()
    refuses("photos/0001.jpg has no labels/0001.png")
    (folder / "photos" / "0001.jpg").unlink()
    (folder / "photos" / "0002.jpg").unlink()
    refuses("1 photographs there; at least 2")
    (folder / "label_list.json").unlink()
    refuses("no label_list.json there")
