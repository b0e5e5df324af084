"""The page of two parsers: which images it shows, in which order, its figures, and which shards it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import InputError
from pipeline.images import encode_image
from pipeline.labels import ATR
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.reporting.comparison import compare_shards
from pipeline.reporting.comparison_numbers import least_first
from pipeline.reporting.inspection import Selection
from pipeline.reporting.matched_shards import match_shards
from pipeline.reporting.page import render_page
from pipeline.reporting.pictures import picture_pixels
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.making.writer import QuarantineRow
from pipeline.shards.reader import ShardReader

COAT, FACE = ATR.labels.index("upper-clothes"), ATR.labels.index("face")


def other_row(row, reader, index):
    """The same image by a parser with ATR's labels that finds ``index`` rows of clothes less."""
    image = reader.image(index)
    labels = np.zeros(image.shape[:2], np.uint8)
    labels[4:16, 6:18], labels[16 + index : 40, 4:20] = FACE, COAT
    mask = clothes_mask(labels, ATR.clothes)
    flags = ("low_confidence",) if index == 0 else ()
    listed = ManifestRow(row.path, row.split, row.person_id, row.camera_id, row.clothes_id)
    made = make_row(listed, image, labels, mask, Quality(0.4, float(mask.mean()), 0.8, flags))
    return replace(made, image=row.image)


@pytest.fixture(scope="module")
def others(people, people_rows):
    return [other_row(row, people, index) for index, row in enumerate(people_rows)]


def write(folder, rows, quarantine=(), dataset="people"):
    write_rows(folder, dataset, rows, list(quarantine), parser="other", scheme=ATR, row_group_rows=8)
    return ShardReader(folder, copy=False)


@pytest.fixture(scope="module")
def second(tmp_path_factory, others):
    """All images but the last, which the other parser could not use."""
    bad = QuarantineRow(others[-1].image_id, others[-1].path, "truncated", "cut off")
    return write(tmp_path_factory.mktemp("other") / "shards", others[:-1], [bad])


def compare(readers, selection=Selection(), images=5, seed=0):  # noqa: B008 - frozen
    matched = match_shards(readers, selection)
    return compare_shards(matched, title="People", version="9", images=images, seed=seed)


def test_figures_against_a_loop_over_the_images(people, second):
    page = compare((people, second), images=100)
    count = len(people) - 1
    expected = []
    for index in range(count):
        one, two = people.mask(index), second.mask(index)
        expected.append(np.count_nonzero(one & two) / np.count_nonzero(one | two))
    by_id = {pair.card.image_id: pair.agreement.clothes_iou for pair in page.random}
    assert list(by_id) == [str(name) for name in people.ids.image_id[:count]]
    assert list(by_id.values()) == pytest.approx(expected)
    summary = page.summary
    assert (summary["images"], summary["only_first"], summary["only_second"]) == (count, 1, 0)
    assert summary["mean_image_iou"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert summary["images_below_half"] == sum(value < 0.5 for value in expected)
    assert [each["image_id"] for each in summary["worst"]] == [
        name for _, name in sorted(zip(expected, by_id, strict=True))
    ]
    assert "parsed by A (truth) only" in page.notes[0]
    assert {label.name for label in page.labels} >= {"face", "upper-clothes"}
    assert sum(group.images for group in page.splits) == count
    assert {group.name for group in page.cameras} == {"1", "2"}


def test_the_masks_picture_shows_what_only_one_has(people, second):
    pair = compare((people, second), images=100).worst[0]
    names = [name for name, _ in pair.pictures]
    assert names == ["image", "A: truth", "B: other", "clothes masks", "A: shielding", "B: shielding"]
    row = [str(name) for name in people.ids.image_id].index(pair.card.image_id)
    pixels = picture_pixels(pair.pictures[3][1]).astype(int)
    only = people.mask(row) & ~second.mask(row)
    both = people.mask(row) & second.mask(row)
    orange = pixels[..., 0] - pixels[..., 2]
    assert orange[only].mean() > 60 > 10 > abs(orange[both].mean())


def test_selections_and_draws(people, second):
    flagged = compare((people, second), Selection(flags=("low_confidence",)), images=100)
    ids = [str(name) for name in people.ids.image_id[:-1]]
    expected = {name for row, name in enumerate(ids) if people.ids.camera_id[row] == 2 or row == 0}
    assert {pair.card.image_id for pair in flagged.random} == expected
    assert compare((people, second), Selection(splits=("query",))).selection == "split query"
    draws = [[pair.card.image_id for pair in compare((people, second), seed=seed).random] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_parser_compared_with_itself_agrees(people):
    page = compare((people, people))
    assert page.summary["clothes_iou"] == page.summary["mean_image_iou"] == 1.0
    assert (page.summary["clothes_differ"], page.summary["labels_differ"], page.confusions) == (0.0, 0.0, ())
    assert "None: every pixel has the same label." in render_page(page, "compare.html.j2")


def test_the_page_stands_for_itself_and_is_the_same_twice(people, second):
    first, again = (render_page(compare((people, second)), "compare.html.j2") for _ in range(2))
    assert first == again
    assert first.count("<img ") == 10 * 6
    assert 'src="data:' in first and "http" not in first.replace("http-equiv", "")  # noqa: PT018


def test_order_of_growing_agreement():
    class Figures:
        def __init__(self, *values):
            self.clothes_iou, self.clothes_differ, self.labels_differ = values

    rows = [(0.5, 0.1, 0.2), (0.0, 0.1, 0.9), (0.0, 0.4, 0.1), (0.5, 0.1, 0.3), (0.5, 0.1, float("nan"))]
    assert least_first([Figures(*row) for row in rows]).tolist() == [2, 1, 3, 0, 4]


def test_shards_of_other_images_are_refused(people, others, tmp_path):
    message = "cannot be compared"
    for name, rows, dataset, detail in (
        ("set", others, "crowd", "of the data sets people and crowd"),
        ("few", others[:3], "people", r"19 images are only in .*people"),
        ("pixels", [replace(others[0], image=encode_image(np.zeros((48, 24, 3), np.uint8))), *others[1:]], "people",
         "is not the same in both"),
    ):  # fmt: skip
        reader = write(tmp_path / name, rows, dataset=dataset)
        with pytest.raises(InputError, match=message) as caught:
            compare((people, reader))
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match=detail):
            compare((people, reader))
    all_bad = [QuarantineRow(row.image_id, row.path, "truncated", "cut") for row in others[1:]]
    stranger = replace(others[0], image_id="train/zz.png", path="zz.png")
    with pytest.raises(InputError, match="1 images are only in"):
        compare((people, write(tmp_path / "stranger", [stranger], all_bad)))
