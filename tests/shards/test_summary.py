"""Quality figures summed up, beside a plain computation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.reader import NO_ID, ShardIds, ShardReader
from pipeline.shards.summary import QUANTILES, summarise

FIGURES = st.tuples(
    st.sampled_from(["train", "query"]), st.sampled_from([NO_ID, 1, 7]), st.floats(0, 1), st.floats(0, 1),
    st.floats(0, 1), st.lists(st.sampled_from(["no_person", "fragmented", "odd"]), unique=True),
)  # fmt: skip


def make_ids(rows: list[tuple]) -> ShardIds:
    count = len(rows)
    flags = np.empty(count, dtype=np.object_)
    for index, row in enumerate(rows):
        flags[index] = tuple(row[5])
    return ShardIds(
        image_id=np.array([f"{index:03d}" for index in range(count)], dtype=np.object_),
        path=np.array([str(index) for index in range(count)], dtype=np.object_),
        split=np.array([row[0] for row in rows], dtype=np.object_),
        person_id=np.zeros(count, np.int64),
        camera_id=np.array([row[1] for row in rows], np.int32),
        clothes_id=np.zeros(count, np.int64),
        tracklet_id=np.zeros(count, np.int64),
        width=np.ones(count, np.int32),
        height=np.ones(count, np.int32),
        clothes_fraction=np.array([row[2] for row in rows], np.float32),
        person_fraction=np.array([row[3] for row in rows], np.float32),
        confidence=np.array([row[4] for row in rows], np.float32),
        flags=flags,
    )


def quantile(values: list[float], at: float) -> float:
    """Linear between the sorted values."""
    ordered = sorted(values)
    position = at * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


@given(st.lists(FIGURES, min_size=1, max_size=30))
def test_figures_agree_with_a_plain_computation(rows):
    summary = summarise(make_ids(rows))
    assert [group.name for group in summary.splits] == sorted({row[0] for row in rows})
    assert [group.name for group in summary.cameras] == [str(c) for c in sorted({row[1] for row in rows} - {NO_ID})]
    groups = [(summary.whole, rows)]
    groups += [(group, [row for row in rows if row[0] == group.name]) for group in summary.splits]
    groups += [(group, [row for row in rows if str(row[1]) == group.name]) for group in summary.cameras]
    for group, chosen in groups:
        assert group.images == len(chosen)
        assert group.flagged == sum(bool(row[5]) for row in chosen)
        for flag in ("no_person", "no_clothes", "fragmented", "odd"):
            assert group.flags.get(flag, 0) == sum(flag in row[5] for row in chosen)
        for spread, column in ((group.clothes_fraction, 2), (group.person_fraction, 3), (group.confidence, 4)):
            values = [float(np.float32(row[column])) for row in chosen]
            assert spread.quantiles == pytest.approx([quantile(values, at) for at in QUANTILES], abs=1e-9)
            assert spread.mean == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_a_part_can_be_summed_up_and_nothing_cannot():
    ids = make_ids([("train", 1, 0.1, 0.2, 0.3, []), ("query", 1, 0.5, 0.6, 0.7, ["odd"])])
    part = summarise(ids, np.array([1]))
    assert (part.whole.images, part.whole.flagged, part.whole.confidence.median) == (1, 1, pytest.approx(0.7))
    assert part.as_dict()["cameras"]["1"]["clothes_fraction"]["q50"] == 0.5
    with pytest.raises(ValueError, match="no images"):
        summarise(ids, np.array([], dtype=np.int64))


def test_a_folder_is_summed_up_from_its_ids(
    tmp_path: Path, sample_rows: list, write_finished_folder: Callable[..., None]
) -> None:
    write_finished_folder(tmp_path / "shards", sample_rows, 3, [])
    summary = summarise(ShardReader(tmp_path / "shards", copy=False).ids)
    assert summary.whole.images == len(sample_rows)
    assert summary.whole.flags["no_person"] == sum("no_person" in row.flags for row in sample_rows)
