import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError, WorkError
from pipeline.files import atomic_file, sha256_of_file
from pipeline.images import decode_image
from pipeline.labels import LIP
from pipeline.location import Location, locate
from pipeline.parsing.masks import clothes_mask, shielding_image
from pipeline.shards import cache
from pipeline.shards.making.writer import ShardRow
from pipeline.shards.reader import NO_ID, ShardReader
from pipeline.shards.record import Record
from pipeline.storage import atomic_output, remove_file


def test_every_value_comes_back(finished_folder: Path, sample_rows: list[ShardRow]) -> None:
    reader = ShardReader(finished_folder)
    assert len(reader) == len(sample_rows) == 23
    for index, row in enumerate(sample_rows):
        ids = reader.ids
        assert (ids.image_id[index], ids.path[index], ids.split[index]) == (row.image_id, row.path, row.split)
        assert ids.person_id[index] == row.person_id
        assert ids.camera_id[index] == (NO_ID if row.camera_id is None else row.camera_id)
        assert ids.clothes_id[index] == (NO_ID if row.clothes_id is None else row.clothes_id)
        assert ids.tracklet_id[index] == NO_ID
        assert ids.flags[index] == row.flags
        assert ids.clothes_fraction[index] == np.float32(row.clothes_fraction)
        assert ids.confidence[index] == np.float32(row.confidence)
        for column in ("image", "label_map", "clothes_mask", "shielded_image"):
            assert reader.encoded(index, column) == getattr(row, column)
    assert reader.ids.camera_id.dtype == np.int32
    assert reader.ids.clothes_id.dtype == np.int64


def test_pictures_agree_with_each_other(finished_folder: Path) -> None:
    reader = ShardReader(finished_folder)
    for index in (22, 0, 7, 8, 15):
        image, mask, labels = reader.image(index), reader.mask(index), reader.label_map(index)
        assert image.shape == (reader.ids.height[index], reader.ids.width[index], 3)
        assert image.dtype == np.uint8
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(image, decode_image(reader.encoded(index)))
        np.testing.assert_array_equal(mask, clothes_mask(labels, LIP.clothes))
        np.testing.assert_array_equal(reader.shielded(index), shielding_image(image, mask))


def test_select_gives_the_rows_of_a_split(finished_folder: Path, sample_rows: list[ShardRow]) -> None:
    reader = ShardReader(finished_folder)
    for wanted in ("train", ["query", "gallery"]):
        expected = [index for index, row in enumerate(sample_rows) if row.split in wanted]
        assert reader.select(wanted).tolist() == expected
    with pytest.raises(InputError, match=r"no split test; they have: gallery, query, train"):
        reader.select("test")


def test_index_out_of_range(finished_folder: Path) -> None:
    reader = ShardReader(finished_folder)
    for index in (-1, 23):
        with pytest.raises(IndexError):
            reader.encoded(index)


def test_metadata_and_record(finished_folder: Path) -> None:
    reader = ShardReader(finished_folder)
    assert reader.metadata.parser_settings == {"level": 3}
    assert reader.metadata.labels == LIP.labels
    assert reader.metadata.clothes_labels == ("upper-clothes", "dress", "coat", "pants", "jumpsuits", "skirt")
    assert reader.record.counts["quarantined"] == 1
    assert reader.record.counts["splits"] == {"gallery": 8, "query": 8, "train": 7}


def test_timings_do_not_change_the_record_hash(finished_folder: Path) -> None:
    before = ShardReader(finished_folder).record_sha256
    path = finished_folder / "_record.json"
    record = json.loads(path.read_text())
    record["timings"]["seconds"] = 99.0
    path.write_text(json.dumps(record))
    assert ShardReader(finished_folder).record_sha256 == before
    record["fingerprint"] = "0" * 64
    path.write_text(json.dumps(record))
    assert ShardReader(finished_folder).record_sha256 != before


def test_unfinished_or_absent_folder_is_refused(finished_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none there.*run ccaf-pipeline parse"):
        ShardReader(tmp_path / "nowhere")
    (finished_folder / "_record.json").unlink()
    with pytest.raises(InputError, match=r"begun but not finished"):
        ShardReader(finished_folder)


def test_missing_and_shortened_shards_are_refused(finished_folder: Path) -> None:
    part = finished_folder / "part-00001-of-00003.parquet"
    data = part.read_bytes()
    part.write_bytes(data[:-1])
    with pytest.raises(InputError, match=r"part-00001-of-00003.parquet has"):
        ShardReader(finished_folder)
    part.unlink()
    with pytest.raises(InputError, match=r"part-00001-of-00003.parquet is missing"):
        ShardReader(finished_folder)


def test_damaged_shard_is_refused_when_the_copy_is_built(finished_folder: Path) -> None:
    part = finished_folder / "part-00001-of-00003.parquet"
    part.write_bytes(b"x" * part.stat().st_size)
    with pytest.raises(InputError, match=r"part-00001-of-00003.parquet is damaged: .*run the same ccaf-pipeline parse"):
        ShardReader(finished_folder)
    assert not list((finished_folder.parent / ".cache").glob("*.arrow"))


def test_one_wrong_bit_of_a_picture_is_refused_by_name_when_the_copy_is_built(finished_folder: Path) -> None:
    name = "part-00002-of-00003.parquet"
    part = finished_folder / name
    whole = part.read_bytes()
    picture = pq.read_table(part)["image"][3].as_py()
    damaged = bytearray(whole)
    damaged[whole.index(picture) + len(picture) // 2] ^= 1
    part.write_bytes(damaged)
    assert pq.read_table(part)["image"][3].as_py() != picture  # Parquet itself does not notice
    with pytest.raises(InputError, match=f"{name} is damaged: its SHA-256 is .*run the same ccaf-pipeline parse"):
        ShardReader(finished_folder)
    assert not list((finished_folder.parent / ".cache").glob("*.arrow"))
    part.write_bytes(whole)
    assert ShardReader(finished_folder).encoded(len(ShardReader(finished_folder)) - 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop_columns(["confidence"]), "no column confidence"),
        (
            lambda table: table.set_column(
                3, pa.field("person_id", pa.string(), False), table["person_id"].cast("string")
            ),
            "column person_id is string without nulls, not int64 without nulls",
        ),
        (
            lambda table: table.cast(pa.schema([field.with_nullable(True) for field in table.schema])),
            "column image_id is string, not string without nulls",
        ),
        (lambda table: table.append_column("more", table["width"]), "unknown column more"),
        (lambda table: table.select(table.column_names[::-1]), "the columns are in another order"),
    ],
)
@pytest.mark.parametrize("copy", [True, False])
def test_other_columns_are_named(finished_folder: Path, change: Any, said: str, copy: bool) -> None:
    record = json.loads((finished_folder / "_record.json").read_text())
    for shard in record["shards"]:
        part = finished_folder / shard["name"]
        table = pq.read_table(part)
        pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), part)
        shard["bytes"], shard["sha256"] = part.stat().st_size, sha256_of_file(part)
    (finished_folder / "_record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"part-00000-of-00003.parquet has not the columns of a shard \(.*{said}"):
        ShardReader(finished_folder, copy=copy)


def test_foreign_parquet_is_refused(finished_folder: Path) -> None:
    for part in finished_folder.glob("part-*"):
        size = part.stat().st_size
        pq.write_table(pa.table({"x": [1]}), part)
        with part.open("r+b") as stream:
            stream.truncate(size)
        record = json.loads((finished_folder / "_record.json").read_text())
        for shard in record["shards"]:
            if shard["name"] == part.name:
                pq.write_table(pa.table({"x": [1]}), part)
                shard["bytes"] = part.stat().st_size
        (finished_folder / "_record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"no shard of ccaf-pipeline"):
        ShardReader(finished_folder)


def test_copy_is_kept_and_replaced_when_the_content_changes(
    finished_folder: Path, sample_rows: list[ShardRow], write_finished_folder: Callable[..., None], tmp_path: Path
) -> None:
    kept = tmp_path / "cache"
    ShardReader(finished_folder, kept)
    (first,) = kept.glob("*.arrow")
    stamp = first.stat().st_mtime_ns
    ShardReader(finished_folder, kept)
    assert first.stat().st_mtime_ns == stamp
    write_finished_folder(finished_folder, sample_rows[:10], 3, [])
    assert len(ShardReader(finished_folder, kept)) == 10
    (second,) = kept.glob("*.arrow")
    assert second != first


def test_cache_variable_names_the_folder(
    finished_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAF_CACHE", str(tmp_path / "elsewhere"))
    ShardReader(finished_folder)
    assert list((tmp_path / "elsewhere").glob("*.arrow"))
    assert not (finished_folder.parent / ".cache").exists()


def test_copy_that_cannot_be_written_is_a_clear_error(finished_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match=r"name another folder in \$CCAF_CACHE"):
        ShardReader(finished_folder, tmp_path / "file" / "cache")


_MEMORY_OF_A_COPY = """
import sys
import pyarrow as pa
from pipeline.shards import cache
from pipeline.shards.record import Record
from pipeline.shards.reader import ShardReader
cache.BATCH_BYTES = 2_000_000
ShardReader(sys.argv[1])
print(pa.default_memory_pool().max_memory())
"""


def test_the_copy_is_made_in_memory_bound_by_bytes(
    tmp_path: Path, sample_rows: list[ShardRow], write_finished_folder: Callable[..., None]
) -> None:
    pictures = [bytes(np.random.default_rng(number).bytes(500_000)) for number in range(60)]
    rows = [
        replace(sample_rows[0], image_id=f"train/{number:03d}.png", image=data) for number, data in enumerate(pictures)
    ]
    write_finished_folder(tmp_path / "shards", rows, 2, [])
    command = [sys.executable, "-c", _MEMORY_OF_A_COPY, str(tmp_path / "shards")]
    most = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert most < 12_000_000  # of 30 MB
    reader = ShardReader(tmp_path / "shards")
    assert [reader.encoded(index) for index in range(60)] == pictures


def test_a_pickled_reader_opens_the_same_copy(finished_folder: Path) -> None:
    reader = ShardReader(finished_folder)
    packed = pickle.dumps(reader)
    assert len(packed) < 1000
    np.testing.assert_array_equal(pickle.loads(packed).image(3), reader.image(3))


def _sum_of_image(folder: Path, results: "multiprocessing.Queue[int]") -> None:
    results.put(int(ShardReader(folder).image(5).sum()))


def test_two_processes_build_the_copy_at_once(finished_folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=_sum_of_image, args=(finished_folder, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sums = {results.get(timeout=60) for _ in workers}
    assert sums == {int(ShardReader(finished_folder).image(5).sum())}
    assert len(list((finished_folder.parent / ".cache").glob("*.arrow"))) == 1


def _copy_slowly(folder: Path, started: Path) -> None:
    write = cache._write

    def slow(shards: Location, record: Record, target: Path) -> None:
        with atomic_file(target) as temporary:
            temporary.write_bytes(b"half")
            started.write_text("")
            time.sleep(60)
        write(shards, record, target)

    cache._write = slow
    ShardReader(folder)


def test_a_killed_builder_leaves_no_copy_and_its_rest_is_removed(finished_folder: Path, tmp_path: Path) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=_copy_slowly, args=(finished_folder, tmp_path / "on"))
    worker.start()
    while not (tmp_path / "on").exists():
        assert worker.is_alive()
        time.sleep(0.01)
    worker.kill()
    worker.join()
    folder = finished_folder.parent / ".cache"
    assert [path.suffix for path in folder.iterdir() if "lock" not in path.name] == [".tmp"]
    assert len(ShardReader(finished_folder)) == 23
    assert [path.suffix for path in folder.iterdir() if "lock" not in path.name] == [".arrow"]


def test_a_copy_for_which_there_is_no_room_is_refused_before_it_is_begun(
    finished_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: cache.shutil._ntuple_diskusage(10, 10, 5))
    with pytest.raises(WorkError, match=r"needs 0\.0 GB in .*where 0\.0 GB are free"):
        ShardReader(finished_folder)


def test_without_a_copy_the_same_pictures_come_from_the_parquet_files(finished_folder: Path) -> None:
    direct = ShardReader(finished_folder, copy=False)
    assert not (finished_folder.parent / ".cache").exists()
    copied = ShardReader(finished_folder)
    for name in ("image_id", "split", "person_id", "camera_id", "confidence", "flags"):
        assert getattr(direct.ids, name).tolist() == getattr(copied.ids, name).tolist()
    for index in np.random.default_rng(0).permutation(len(copied)).tolist():
        for column in ("image", "label_map", "clothes_mask", "shielded_image"):
            assert direct.encoded(index, column) == copied.encoded(index, column)
    again = pickle.loads(pickle.dumps(direct))
    assert again.encoded(3) == direct.encoded(3)
    with pytest.raises(IndexError):
        direct.encoded(len(direct))


def test_shards_in_an_object_store_give_the_same_through_a_local_copy_or_without(
    finished_folder: Path, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = locate(s3_bucket) / tmp_path.name / "shards"
    for path in finished_folder.iterdir():
        with atomic_output(place / path.name) as temporary:
            shutil.copyfile(path, temporary)
    local = ShardReader(finished_folder, tmp_path / "other")
    monkeypatch.delenv("CCAF_CACHE", raising=False)
    with pytest.raises(InputError, match=rf"shards in {place} are read through a local copy: set \$CCAF_CACHE"):
        ShardReader(str(place))
    monkeypatch.setenv("CCAF_CACHE", str(tmp_path / "cache"))
    remote = ShardReader(str(place))
    assert remote.record_sha256 == local.record_sha256
    for reader in (remote, pickle.loads(pickle.dumps(remote)), ShardReader(Path(str(place)), copy=False)):
        assert str(reader.folder) == str(place)
        assert reader.ids.image_id.tolist() == local.ids.image_id.tolist()
        for index in (0, 9, 22):
            for column in ("image", "label_map", "clothes_mask", "shielded_image"):
                assert reader.encoded(index, column) == local.encoded(index, column)
    (copy,) = (tmp_path / "cache").glob("*.arrow")

    with atomic_output(place / "part-00001-of-00003.parquet") as temporary:
        temporary.write_bytes(b"short")
    with pytest.raises(InputError, match=rf"shard {place}/part-00001-of-00003.parquet has 5 bytes, its record says"):
        ShardReader(str(place))
    remove_file(place / "part-00001-of-00003.parquet")
    with pytest.raises(InputError, match=rf"shard {place}/part-00001-of-00003.parquet is missing"):
        ShardReader(str(place))
    assert copy.is_file()


def test_without_a_copy_damage_is_told(finished_folder: Path) -> None:
    reader = ShardReader(finished_folder, copy=False)
    for path in finished_folder.glob("part-*.parquet"):
        size = path.stat().st_size
        path.write_bytes(b"x" * size)
    with pytest.raises(InputError, match=r"part-.* cannot be read .*parse --verify"):
        reader.encoded(0)
