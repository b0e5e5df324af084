"""Counts of a shard folder against loops over its rows."""

from collections import Counter

import pytest

from pipeline.errors import InputError
from pipeline.reporting.overview import count_flags, count_quarantine, count_splits, make_overview


def expected_counts(rows):
    return (
        len(rows),
        len({row.person_id for row in rows}),
        len({row.clothes_id for row in rows if row.clothes_id is not None}) or None,
        len({row.camera_id for row in rows if row.camera_id is not None}) or None,
        None,
    )


def test_counts_of_splits(people, people_rows):
    counts = count_splits(people.ids)
    assert [item.split for item in counts] == ["gallery", "query", "train", "all"]
    for item in counts:
        rows = [row for row in people_rows if item.split in (row.split, "all")]
        found = (item.images, item.identities, item.clothes, item.cameras, item.tracklets)
        assert found == expected_counts(rows)


def test_persons_that_stand_for_nobody_are_not_counted(people):
    assert [item.identities for item in count_splits(people.ids, (3, -1))] == [2, 2, 2, 4]


def test_quarantine_by_reason(people):
    tallies = count_quarantine(people.folder, len(people))
    assert [(tally.name, tally.count) for tally in tallies] == [("truncated", 2), ("missing", 1)]
    assert tallies[0].share == pytest.approx(2 / (len(people) + 3))
    assert tallies[0].notes == ("train/a.png: cut off", "train/c.png: cut off <b>here</b>")


def test_a_missing_quarantine_table_is_an_error(tmp_path):
    with pytest.raises(InputError, match="run ccaf-pipeline parse"):
        count_quarantine(tmp_path, 4)


def test_every_flag_has_a_meaning(people):
    assert all(tally.notes for tally in count_flags(people.ids))


def test_flags_that_never_occur_are_listed_and_unknown_ones_too(people, people_rows):
    tallies = {tally.name: tally.count for tally in count_flags(people.ids)}
    expected = Counter(flag for row in people_rows for flag in row.flags)
    assert expected["low_confidence"] == 6
    assert tallies == {"no_person": 0, "no_clothes": 0, "almost_all_clothes": 0, "fragmented": 0, **expected}


def test_histograms_have_the_median_of_each_split(people):
    histograms = make_overview(people).histograms
    assert [item.split for item in histograms] == ["gallery", "query", "train"]
    assert {round(item.median, 4) for item in histograms} == {round(24 * 16 / (48 * 24), 4)}
    assert {item.empty for item in histograms} == {0}
