"""Exact search in a feature file against a plain sort, conditions on its columns, and what is refused."""

import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.features import gallery as gallery_module
from pipeline.features.feature_set import FeatureSet, feature_table, write_features
from pipeline.features.gallery import open_gallery, read_row, search
from pipeline.features.gallery_conditions import choose_rows


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def features():
    """Of lengths that are not 1, with equal ones far apart."""
    values = np.random.default_rng(0).standard_normal((5000, 16), dtype=np.float32) * 3
    values[4500] = values[10] = values[2500]
    return values


@pytest.fixture(scope="module")
def forms(features, tmp_path_factory):
    """The same features in small row groups, in one large one, as a folder, and as NumPy's."""
    folder = tmp_path_factory.mktemp("gallery")
    count = len(features)
    ids = np.arange(count)
    cameras = np.where(ids % 7 == 0, -1, ids % 5)
    roles = np.where(ids % 2, "gallery", "query")
    items = FeatureSet(features, ids.astype(str), roles, ids // 10, cameras, ids // 5, np.full(count, -1))
    write_features(folder / "small.parquet", feature_table(items), {"feature": "concat"})
    pq.write_table(feature_table(items), folder / "tiny.parquet", row_group_size=37)
    table = feature_table(items)
    for number in range(12):
        large = pa.concat_tables([table] * 4) if number == 0 else table.slice(number * 100, 0)
        (folder / "parts").mkdir(exist_ok=True)
        pq.write_table(large.slice(0, count), folder / "parts" / f"{number:02d}.parquet", row_group_size=count)
    pq.write_table(table, folder / "one_group.parquet", row_group_size=1 << 20)
    np.savez(folder / "arrays.npz", feature=features, image_id=ids.astype(str), role=roles, camera_id=cameras)
    return folder


def plain(features, queries, top, mask, own):
    """Sort all similarities; equal ones by their row. Returns rows and cosines by query."""
    cosines = unit(queries.astype(np.float64)) @ unit(features.astype(np.float64)).T
    found = []
    for query, line in enumerate(cosines):
        rows = [row for row in range(len(features)) if mask is None or mask[row]]
        rows = [row for row in rows if not own or row != own[query]]
        found.append(sorted(rows, key=lambda row: (-round(line[row], 9), row))[:top])
    return found, cosines


@pytest.mark.parametrize("name", ["small.parquet", "tiny.parquet", "one_group.parquet", "parts", "arrays.npz"])
@pytest.mark.parametrize("threads", [1, 3])
def test_neighbours_are_those_of_a_plain_sort(forms, features, name, threads, monkeypatch):
    monkeypatch.setattr("pipeline.features.gallery_pieces.LARGEST_GROUP", 4500)
    gallery = open_gallery(forms / name)
    queries = unit(features[[10, 77, 4999]] + np.float32(0.01))
    queries[0] = unit(features[2500:2501])[0]
    chosen = np.arange(len(gallery)) % 3 != 0
    chosen[[10, 2500, 4500]] = True
    for mask, own in ((None, []), (chosen, [2500, -1, 4999])):
        expected, cosines = plain(features, queries, 20, mask, own)
        found = search(gallery, queries.astype(np.float32), 20, chosen=mask, leave_out=own, threads=threads)
        assert found.rows.tolist() == expected
        assert found.searched == (len(gallery) if mask is None else mask.sum())
        np.testing.assert_allclose(found.similarity, [cosines[q][rows] for q, rows in enumerate(expected)], atol=1e-5)


def test_fewer_images_than_asked_for(forms, features):
    gallery = open_gallery(forms / "tiny.parquet")
    chosen = np.zeros(len(gallery), dtype=bool)
    chosen[[5, 4000]] = True
    found = search(gallery, unit(features[5:6]), 4, chosen=chosen)
    assert found.rows.tolist() == [[5, 4000, -1, -1]]
    assert np.isnan(found.similarity[0, 2:]).all()
    np.testing.assert_allclose(read_row(gallery, 4000), unit(features[4000:4001])[0], atol=1e-6)
    assert gallery.row_of("4000") == 4000
    assert gallery.row_of("absent") is None
    assert gallery.value("camera_id", 7) is None


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_beyond_what_can_be_squared_are_none_of_search(features, tmp_path, scale):
    np.savez(tmp_path / "far.npz", feature=features * np.float32(scale))
    found = search(open_gallery(tmp_path / "far.npz"), unit(features[3:4]), 5)
    np.savez(tmp_path / "near.npz", feature=features)
    expected = search(open_gallery(tmp_path / "near.npz"), unit(features[3:4]), 5)
    assert found.rows.tolist() == expected.rows.tolist()
    np.testing.assert_allclose(found.similarity, expected.similarity, atol=1e-5)


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ("camera_id != 3 and split == 'gallery'", lambda row: row % 7 and row % 5 != 3 and row % 2),
        ("camera_id is null", lambda row: row % 7 == 0),
        ("person_id in (3, 4) or image_id = '9'", lambda row: row // 10 in (3, 4) or row == 9),
        ("role LIKE 'q%'", lambda row: row % 2 == 0),
    ],
)
def test_conditions_are_those_of_sql(forms, where, fits):
    gallery = open_gallery(forms / "tiny.parquet")
    expected = [row for row in range(len(gallery)) if fits(row)]
    assert np.flatnonzero(choose_rows(gallery, where)).tolist() == expected
    named = replace(gallery, ids=gallery.ids.append_column("Row", gallery.ids["image_id"]))  # as a column of one's own
    assert np.flatnonzero(choose_rows(named, where)).tolist() == expected


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("shoes = 1", "columns: image_id, role"),
        ("camera_id +", "syntax error"),
        ("", "SELECT clause"),
        ("true; drop table x", "single SELECT|Cannot have any modifiers"),
        ("'blue'", "Could not convert"),
        ("exists(select * from read_text('/etc/hostname'))", "disabled by configuration"),
        ("exists(select * from forms)", "does not exist"),
        ("camera_id = 77", "no image of the gallery fits"),
    ],
)
def test_conditions_that_are_wrong_or_reach_out_are_refused(forms, where, reason):
    with pytest.raises(InputError, match=reason):
        choose_rows(open_gallery(forms / "tiny.parquet"), where)


@pytest.mark.parametrize("seconds", [0.3, 0.0001], ids=["in the middle", "before the query has begun"])
def test_a_condition_that_takes_too_long_is_interrupted(forms, seconds):
    gallery = open_gallery(forms / "tiny.parquet")
    started = time.monotonic()
    with pytest.raises(InputError, match=rf"takes more than {seconds} s"):
        choose_rows(gallery, "(select count(*) from range(1000000) a, range(1000000) b) > camera_id", seconds)
    assert time.monotonic() - started < 30
    assert choose_rows(gallery, "camera_id = 2", 60).any()


@pytest.mark.parametrize("name", ["small.parquet", "one_group.parquet", "parts", "arrays.npz"])
def test_features_that_changed_since_the_gallery_was_opened_are_refused(forms, features, name, tmp_path):
    """A longer file by the same name, one of other rows as long to the byte, a file more in a folder, none at all."""
    place = tmp_path / name
    shutil.copytree(forms / name, place) if place.suffix == "" else shutil.copy(forms / name, place)
    gallery = open_gallery(place)
    query = unit(features[:1])
    assert search(gallery, query, 1).rows.tolist() == [[0]]
    one = sorted(place.iterdir())[0] if place.is_dir() else place
    before = one.stat()
    copy = tmp_path / "copy"
    shutil.copy2(one, copy)
    copy.replace(one)  # another file of the same bytes and time
    assert (one.stat().st_size, one.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    for change in (None, lambda: pq.write_table(pq.read_table(forms / "one_group.parquet"), one), one.unlink):
        if change is not None:
            change()
        for read in (lambda: search(gallery, query, 1), lambda: read_row(gallery, 4999)):
            with pytest.raises(InputError, match="has changed since it was opened"):
                read()


def test_a_change_during_a_search_is_seen_whatever_it_leads_to(forms, features, tmp_path, monkeypatch):
    place = tmp_path / "f.parquet"
    shutil.copy(forms / "tiny.parquet", place)
    gallery = open_gallery(place)
    before = gallery_module.row_groups

    def late(path):
        table = pq.read_table(place)
        pq.write_table(pa.concat_tables([table, table]), place, row_group_size=37)
        return before(path)

    monkeypatch.setattr(gallery_module, "row_groups", late)
    with pytest.raises(InputError, match="has changed since it was opened"):
        search(gallery, unit(features[:1]), 3, chosen=np.arange(len(gallery)) % 2 == 0)


def test_a_table_beside_an_array_counts_as_well(features, tmp_path):
    np.save(tmp_path / "f.npy", features[:4])
    (tmp_path / "f.csv").write_text("person_id,role\n" + "1,gallery\n" * 4)
    gallery = open_gallery(tmp_path / "f.npy")
    assert search(gallery, unit(features[:1]), 1).rows.tolist() == [[0]]
    (tmp_path / "f.csv").write_text("person_id,role\n" + "23,gallery\n" * 4)
    with pytest.raises(InputError, match="has changed since it was opened"):
        search(gallery, unit(features[:1]), 1)


def test_a_file_that_is_damaged_in_its_place_is_said(forms, features, tmp_path):
    place = tmp_path / "f.parquet"
    shutil.copy(forms / "tiny.parquet", place)
    gallery = open_gallery(place)
    times = place.stat()
    place.write_bytes(bytes(times.st_size))
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    for read in (lambda: search(gallery, unit(features[:1]), 1), lambda: read_row(gallery, 0)):
        with pytest.raises(InputError, match="cannot be read as Parquet"):
            read()


def test_galleries_that_cannot_be_searched_are_refused(forms, features, tmp_path):
    with pytest.raises(InputError, match="not found"):
        open_gallery(tmp_path / "absent.parquet")
    table = pq.read_table(forms / "tiny.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="has no image"):
        open_gallery(tmp_path / "empty.parquet")
    pq.write_table(table.drop_columns("feature"), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="lacks the column feature"):
        open_gallery(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="16 numbers and the query one of 8"):
        search(open_gallery(forms / "tiny.parquet"), unit(features[:1, :8]), 3)
    broken = features.copy()
    broken[3000, 2] = np.nan
    np.savez(tmp_path / "nan.npz", feature=broken)
    with pytest.raises(InputError, match="NaN or infinite values; the first is row 3000"):
        search(open_gallery(tmp_path / "nan.npz"), unit(features[:1]), 3)
    pq.write_table(pa.concat_tables([table.slice(0, 1)] * 2), tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="2 rows with the image_id 0"):
        open_gallery(tmp_path / "twice.parquet").row_of("0")
