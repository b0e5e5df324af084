"""Which queries two checkpoints are compared by, and the mosaic of their lists."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.reporting.figures.mosaic import RIGHT, WRONG, Tile, mosaic
from pipeline.reporting.figures.side_by_side import choose_apart
from pipeline.reporting.pictures import photo, picture_pixels

FIGURES = st.integers(0, 30).flatmap(
    lambda count: st.tuples(*(st.lists(st.integers(0, 8), min_size=count, max_size=count) for _ in range(2)))
)


@given(pair=FIGURES, count=st.integers(1, 12), seed=st.integers(0, 3))
def test_half_are_the_largest_gaps_and_the_rest_is_drawn_from_the_others(pair, count, seed):
    first, second = ([value / 8 for value in values] for values in pair)
    apart, random = choose_apart(first, second, count, seed)
    gaps = [abs(one - other) for one, other in zip(first, second, strict=True)]
    wanted = [gap for gap in sorted(gaps, reverse=True) if gap > 0][: min(count, len(gaps)) // 2]
    assert [gaps[query] for query in apart] == wanted
    assert len(apart) + len(random) == min(count, len(gaps))
    assert len(set(apart) | set(random)) == len(apart) + len(random)
    assert random == sorted(random)
    assert (apart, random) == choose_apart(first, second, count, seed)


def test_one_checkpoint_alone_has_random_queries_only():
    assert choose_apart([0.1, 0.5, 0.9], [0.1, 0.5, 0.9], 2, 0)[0] == []


def test_the_mosaic_frames_right_and_wrong():
    picture = photo(np.full((60, 30, 3), (10, 20, 200), dtype=np.uint8), "blue")
    data = mosaic(["query", "a$b\n1", "2"], [[Tile(picture, ""), Tile(picture, "", True), None]] * 2)
    other = mosaic(["query", "a$b\n1", "2"], [[Tile(picture, ""), Tile(picture, "", False), None]] * 2)
    for found, frame in ((data, RIGHT), (other, WRONG)):
        pixels = np.asarray(Image.open(io.BytesIO(found)).convert("RGB")).astype(int)
        target = np.array([int(frame[start : start + 2], 16) for start in (1, 3, 5)])
        assert (np.abs(pixels - target).sum(axis=2) < 12).sum() > 100
    assert data == mosaic(["query", "a$b\n1", "2"], [[Tile(picture, ""), Tile(picture, "", True), None]] * 2)


def test_the_pixels_of_a_picture_come_back():
    image = np.full((12, 8, 3), (200, 30, 90), dtype=np.uint8)
    assert np.abs(picture_pixels(photo(image, "red")).astype(int) - image).max() <= 4
