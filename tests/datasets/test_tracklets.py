"""Sampling of frames against a plain loop."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.tracklets import sample_frames


def manifest(tracklets: list[int | None]) -> pa.Table:
    return pa.table({"row": list(range(len(tracklets))), "tracklet_id": pa.array(tracklets, pa.int64())})


@given(st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=40), st.integers(1, 12))
def test_kept_rows_are_those_of_a_plain_loop(tracklets: list[int | None], wanted: int) -> None:
    expected = {row for row, tracklet in enumerate(tracklets) if tracklet is None}
    for tracklet in set(tracklets) - {None}:
        rows = [row for row, other in enumerate(tracklets) if other == tracklet]
        count = min(wanted, len(rows))
        expected |= {rows[int((i + 0.5) * len(rows) / count)] for i in range(count)}
    assert sample_frames(manifest(tracklets), wanted)["row"].to_pylist() == sorted(expected)


def test_known_choices() -> None:
    ten = manifest([7] * 10)
    assert sample_frames(ten, 1)["row"].to_pylist() == [5]
    assert sample_frames(ten, 2)["row"].to_pylist() == [2, 7]
    assert sample_frames(ten, 4)["row"].to_pylist() == [1, 3, 6, 8]
    assert sample_frames(ten, 10)["row"].to_pylist() == list(range(10))


def test_null_keeps_all_and_zero_is_refused() -> None:
    table = manifest([0, 0, None])
    assert sample_frames(table, None).equals(table)
    with pytest.raises(ValueError, match="at least 1"):
        sample_frames(table, 0)
