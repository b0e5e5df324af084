"""Reading images for a shard: windows, batches by size, and files that change or go away."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.manifest import ManifestRow
from pipeline.images import encode_image
from pipeline.location import locate
from pipeline.shards.making.sources import (
    BATCH_PIXELS,
    Source,
    bucket_by_size,
    decode_source,
    group_windows,
    open_source,
    read_source,
)
from pipeline.storage import atomic_output


def source(height: int, width: int, bad: bool = False) -> Source:
    image = None if bad else np.broadcast_to(np.zeros(3, np.uint8), (height, width, 3))
    return Source(ManifestRow("a.png", "train", 1), b"", "", 0 if bad else height * width, image)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.booleans()), max_size=40), st.integers(1, 7))
def test_batches_by_size_hold_every_good_image_once_and_similar_ones_together(
    sizes: list[tuple[int, int, bool]], batch_size: int
) -> None:
    window = [source(*size) for size in sizes]
    batches = bucket_by_size(window, batch_size)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == [index for index, size in enumerate(sizes) if not size[2]]
    assert all(len(batch) == batch_size for batch in batches[:-1])
    shapes = [sizes[index][:2] for index in flat]
    assert shapes == sorted(shapes)
    assert all(a < b for a, b in pairwise(flat) if sizes[a][:2] == sizes[b][:2])


def test_windows_end_at_a_number_of_images_and_at_a_number_of_pixels() -> None:
    small = [source(10, 10) for _ in range(10)]
    assert [len(window) for window in group_windows(small, 4)] == [4, 4, 2]
    large = [source(4000, 1500) for _ in range(7)]
    assert 2 * 4000 * 1500 < BATCH_PIXELS < 3 * 4000 * 1500
    assert [len(window) for window in group_windows(large, 100)] == [3, 3, 1]
    assert list(group_windows([], 4)) == []


def test_hash_bytes_and_pixels_are_of_one_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    row = ManifestRow("a.png", "train", 1)
    first, second = (encode_image(np.full((3, 2, 3), value, np.uint8)) for value in (10, 200))
    path.write_bytes(first)
    opened = open_source(locate(tmp_path), row, 100)
    path.write_bytes(second)  # between hashing and decoding
    decoded = decode_source(opened)
    assert (decoded.data, decoded.digest) == (first, hashlib.sha256(first).hexdigest())
    assert decoded.image is not None
    assert decoded.image.tolist() == [[[10] * 3] * 2] * 3
    assert read_source(locate(tmp_path), row).digest != opened.digest, "the next run notices"


@pytest.mark.parametrize("place", ["local", "s3"])
def test_the_quarantine_does_not_tell_where_the_data_set_lies(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = locate(tmp_path if place == "local" else f"{request.getfixturevalue('s3_bucket')}/sources")
    with atomic_output(folder / "x.png") as temporary:
        temporary.write_bytes(b"x")
    found = open_source(folder, ManifestRow("a/b.png", "train", 1), 100)
    assert found.bad is not None
    assert (found.bad.reason, found.bad.detail, found.digest) == ("missing", "no file at a/b.png", "missing")
    bad = open_source(folder, ManifestRow("x.png", "train", 1), 100).bad
    assert bad is not None
    assert bad.reason == "not_an_image"
