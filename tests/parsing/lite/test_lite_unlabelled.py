"""Targets of crops without labels: only what a parser says of every view."""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.images import encode_image
from pipeline.labels import LIP
from pipeline.parsing.lite.targets import IGNORE, SOME_ARM, SOME_CLOTHES, SOME_SKIN
from pipeline.parsing.lite.training.unlabelled import (
    SHIFTS,
    agreed_target,
    agreement,
    back,
    read_unlabelled,
    shifted,
)
from pipeline.parsing.parser import Parsing

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)


class ByColour:
    """Calls a pixel a coat where it is bright and background where not: agrees with itself wherever it looks."""

    name, scheme, weights_sha256 = "colours", LIP, "0" * 64

    def parse(self, images):
        return [Parsing(np.where(image[..., 0] > 127, np.uint8(7), np.uint8(0)), 1.0) for image in images]


class ByPlace(ByColour):
    """Calls the upper half of whatever it sees hair."""

    def parse(self, images):
        maps = [np.zeros(image.shape[:2], np.uint8) for image in images]
        for labels in maps:
            labels[: len(labels) // 2] = 2
        return [Parsing(labels, 1.0) for labels in maps]


def test_views_that_differ_teach_what_they_have_in_common():
    maps = [np.array([row], np.uint8) for row in ([5, 5, 14, 14, 0, 2], [5, 7, 15, 13, 5, 2], [5, 6, 14, 15, 0, 2])]
    assert agreement(maps).tolist() == [[5, SOME_CLOTHES, SOME_ARM, SOME_SKIN, IGNORE, 2]]


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (-3, 0), (0, 2), (0, -2)])
def test_labels_of_a_moved_image_come_back_to_their_pixels(down, right):
    labels = PICTURE[..., 1]
    returned = back(shifted(labels, down, right), down, right)
    seen = np.zeros(labels.shape, bool)
    seen[max(0, -down) : 40 - max(0, down), max(0, -right) : 20 - max(0, right)] = True
    assert np.array_equal(returned[seen], labels[seen])
    assert (returned[~seen] == IGNORE).all()


def test_a_parser_that_agrees_with_itself_is_believed():
    target = agreed_target(ByColour(), PICTURE)
    inner = target[2:-2, 2:-2]
    assert np.array_equal(inner, ByColour().parse([PICTURE])[0].label_map[2:-2, 2:-2])
    assert (target[[0, -1]] == IGNORE).all()  # rows that a shifted view does not show


def test_where_the_cut_decides_nothing_is_learned():
    target = agreed_target(ByPlace(), PICTURE)
    border = round(max(down for down, _ in SHIFTS) * 40)
    assert (target[20 - border : 20 + border] == IGNORE).all()
    assert (target[border : 20 - border, 4:-4] == 2).all()


def test_crops_are_read_with_their_targets_and_nobody_is_left_out(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.png").write_bytes(encode_image(PICTURE))
    (tmp_path / "deep" / "a.jpg").write_bytes(encode_image(np.full((40, 20, 3), 255, np.uint8)))
    (tmp_path / "empty.png").write_bytes(encode_image(np.zeros((40, 20, 3), np.uint8)))
    crops = read_unlabelled(tmp_path, ByColour(), 30)
    assert [crop.name for crop in crops] == ["b.png", "a.jpg"]
    assert all(crop.target.shape == crop.image.shape[:2] == (30, 15) for crop in crops)
    assert (crops[1].target[5:-5, 5:-5] == 7).all()


def test_folders_that_teach_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="no images in"):
        read_unlabelled(tmp_path, ByColour(), 30)
    (tmp_path / "empty.png").write_bytes(encode_image(np.zeros((40, 20, 3), np.uint8)))
    with pytest.raises(InputError, match="finds a person in none of the 1 images"):
        read_unlabelled(tmp_path, ByColour(), 30)
    (tmp_path / "empty.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"empty.png.*not_an_image"):
        read_unlabelled(tmp_path, ByColour(), 30)
