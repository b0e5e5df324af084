"""Which images a sheet shows, and that its pictures are those of the shards."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images import decode_image
from pipeline.parsing.masks import clothes_image
from pipeline.reporting.sheets import choose_rows, make_sheet

IMAGES = st.lists(st.tuples(st.sampled_from(["train", "query", "gallery"]), st.floats(0, 1)), min_size=1, max_size=60)


@given(IMAGES, st.integers(1, 30), st.integers(0, 5))
def test_choice_is_distinct_complete_and_spread_over_the_splits(images, count, seed):
    splits, confidence = [split for split, _ in images], [value for _, value in images]
    drawn, unsure = choose_rows(splits, confidence, count, seed)
    rows = [*drawn, *unsure]
    assert len(rows) == len(set(rows)) == min(count, len(images))
    assert drawn == sorted(drawn)
    assert len(unsure) == min(count, len(images)) // 4
    assert all(
        confidence[row] <= confidence[other] for row in unsure for other in range(len(images)) if other not in unsure
    )
    taken = {split: [splits[row] for row in drawn].count(split) for split in set(splits)}
    left = {split: splits.count(split) - [splits[row] for row in rows].count(split) for split in set(splits)}
    assert all(taken[split] >= max(taken.values()) - 1 for split in taken if left[split])
    assert choose_rows(splits, confidence, count, seed) == (drawn, unsure)


def test_another_seed_draws_other_images():
    splits, confidence = ["train"] * 500, [0.5] * 500
    assert choose_rows(splits, confidence, 12, 0) != choose_rows(splits, confidence, 12, 1)


def test_pictures_are_those_of_the_shards(people, people_rows, pixels_of):
    sheet = make_sheet(people, 12, seed=3)
    by_id = {row.image_id: row for row in people_rows}
    assert len(sheet.random) == 9
    assert len(sheet.unsure) == 3
    for item in [*sheet.random, *sheet.unsure]:
        row = by_id[item.card.image_id]
        pictures = {name: pixels_of(picture.uri).astype(int) for name, picture in item.pictures}
        assert list(pictures) == ["image", "labels", "mask", "shielding", "clothes"]
        image, mask = decode_image(row.image), np.zeros((48, 24), dtype=bool)
        mask[16:40, 4:20] = True
        assert np.array_equal(pictures["mask"].astype(bool), mask)
        for name, expected in (
            ("image", image),
            ("shielding", np.where(mask[..., None], 255, image)),
            ("clothes", clothes_image(image, mask)),
        ):
            assert np.abs(pictures[name] - expected).mean() < 6
        assert (item.card.person_id, item.card.camera_id, item.card.clothes_id) == (
            row.person_id, row.camera_id, row.clothes_id,
        )  # fmt: skip
        assert item.flags == row.flags


def test_the_unsure_are_the_lowest_of_all(people, people_rows):
    sheet = make_sheet(people, 12, seed=3)
    lowest = sorted(row.confidence for row in people_rows)[:3]
    assert np.allclose([item.confidence for item in sheet.unsure], lowest)


def test_legend_names_the_labels_that_occur(people):
    legend = make_sheet(people, 4, seed=0).legend
    assert [(entry.name, entry.covered) for entry in legend] == [("upper-clothes", True), ("face", False)]
    assert len({entry.colour for entry in legend}) == 2
