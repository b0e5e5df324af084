"""Decoded pixels on disk: the same bytes as decoding, made once, by one process, whatever dies on the way."""

import json
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError, WorkError
from pipeline.images import resize_image
from pipeline.parsing.masks import clothes_image, shielding_image
from pipeline.shards import pixels
from pipeline.shards.making.writer import ShardRow
from pipeline.shards.pixels import VIEWS, PixelCache, PixelFiles, View, open_pixels
from pipeline.shards.reader import ShardReader

SIZE = (16, 8)


def files_of(reader: ShardReader, folder: Path, rows: np.ndarray | None = None) -> PixelFiles:
    chosen = np.arange(len(reader)) if rows is None else rows
    return PixelFiles(folder, reader.folder, reader.record_sha256, chosen, SIZE, reader.metadata.fill)


def read(cache: PixelCache, view: View, positions: np.ndarray) -> np.ndarray:
    return cache.read(view, positions, np.empty((len(positions), 3, *SIZE), dtype=np.uint8))


def expected(reader: ShardReader, index: int, view: View) -> np.ndarray:
    image, mask = reader.image(index), reader.mask(index)
    made = {"raw": image, "shielding": shielding_image(image, mask), "clothes": clothes_image(image, mask)}[view]
    return resize_image(made, SIZE).transpose(2, 0, 1)


def test_pixels_are_those_of_decoding_masking_and_resizing(finished_folder: Path, tmp_path: Path) -> None:
    reader = ShardReader(finished_folder)
    rows = np.array([2, 3, 5, 7, 11, 20])
    cache = open_pixels(reader, files_of(reader, tmp_path, rows), VIEWS, threads=3)
    wanted = np.array([11, 2, 2, 20])
    positions = cache.positions(wanted)
    assert positions is not None
    for view in VIEWS:
        planes = read(cache, view, positions)
        for number, index in enumerate(wanted):
            np.testing.assert_array_equal(planes[number], expected(reader, index, view))
    for absent in ([4], [2, 22], [-1], [500], []):
        assert cache.positions(np.array(absent, dtype=np.int64)) is None


def test_files_open_with_numpy_alone(finished_folder: Path, tmp_path: Path) -> None:
    reader = ShardReader(finished_folder)
    files = files_of(reader, tmp_path)
    open_pixels(reader, files, ["raw"])
    array = np.load(files.path("raw"), mmap_mode="r")
    assert array.shape == (len(reader), 3, *SIZE)
    np.testing.assert_array_equal(array[4], expected(reader, 4, "raw"))


def test_files_are_made_once_and_only_the_views_that_are_missing(
    finished_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ShardReader(finished_folder)
    files = files_of(reader, tmp_path)
    asked: list[tuple[View, ...]] = []
    render = pixels.render

    def counted(*arguments: object) -> object:
        asked.append(tuple(arguments[4]))  # type: ignore[arg-type]
        return render(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pixels, "render", counted)
    reported: list[int] = []
    open_pixels(reader, files, ["raw"], report=reported.append)
    assert asked == [("raw",)] * len(reader)
    assert sum(reported) == len(reader)
    open_pixels(reader, files, ["raw", "shielding"])
    assert asked[len(reader) :] == [("shielding",)] * len(reader)
    open_pixels(reader, files, ["shielding", "raw"])
    assert len(asked) == 2 * len(reader)


def test_files_of_other_content_rows_sizes_and_fills_are_told_apart(
    finished_folder: Path,
    sample_rows: list[ShardRow],
    write_finished_folder: Callable[..., None],
    tmp_path: Path,
) -> None:
    reader = ShardReader(finished_folder)
    files = files_of(reader, tmp_path)
    others = [
        PixelFiles(tmp_path, reader.folder, reader.record_sha256, files.rows[:5], SIZE, "white"),
        PixelFiles(tmp_path, reader.folder, reader.record_sha256, files.rows, (8, 16), "white"),
        PixelFiles(tmp_path, reader.folder, reader.record_sha256, files.rows, SIZE, "black"),
        PixelFiles(tmp_path, reader.folder, "0" * 64, files.rows, SIZE, "white"),
        PixelFiles(tmp_path, tmp_path, reader.record_sha256, files.rows, SIZE, "white"),
    ]
    assert len({some.path("shielding") for some in [files, *others]}) == 6
    for some in others[:2]:
        open_pixels(reader, some, ["raw"])
    (tmp_path / f".{files.key}-raw.npy.partial").write_bytes(b"of a killed process")
    write_finished_folder(finished_folder, sample_rows[:10], 3, [])
    smaller = ShardReader(finished_folder)
    open_pixels(smaller, files_of(smaller, tmp_path), ["raw"])
    kept = [path.name for path in tmp_path.iterdir() if path.name.endswith((".npy", ".partial", ".progress"))]
    assert kept == [files_of(smaller, tmp_path).path("raw").name]  # what was made of the earlier content is gone


def test_a_pickled_cache_opens_the_same_files(finished_folder: Path, tmp_path: Path) -> None:
    reader = ShardReader(finished_folder)
    cache = open_pixels(reader, files_of(reader, tmp_path), ["raw"])
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(read(again, "raw", np.array([3, 1])), read(cache, "raw", np.array([3, 1])))


def test_a_damaged_file_is_an_error_that_names_it(finished_folder: Path, tmp_path: Path) -> None:
    reader = ShardReader(finished_folder)
    files = files_of(reader, tmp_path)
    open_pixels(reader, files, ["raw"])
    data = files.path("raw").read_bytes()
    for damaged in (data[:-5], b"no array", b""):
        files.path("raw").write_bytes(damaged)
        with pytest.raises(InputError, match=r"-raw\.npy cannot be read.*delete that file"):
            open_pixels(reader, files, ["raw"])
    np.save(files.path("raw"), np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"holds uint8 \(2, 3\), expected uint8 \(23, 3, 16, 8\)"):
        open_pixels(reader, files, ["raw"])


class Broken:
    """Shards with one image that cannot be decoded."""

    def __init__(self, reader: ShardReader) -> None:
        self._reader = reader

    def image(self, index: int) -> np.ndarray:
        from pipeline.errors import BadImageError

        if index == 9:
            raise BadImageError("truncated", "the pixels cannot be decoded")
        return self._reader.image(index)

    def mask(self, index: int) -> np.ndarray:
        return self._reader.mask(index)


def test_an_image_that_cannot_be_decoded_is_an_error_and_nothing_is_taken_for_finished(
    finished_folder: Path, tmp_path: Path
) -> None:
    reader = ShardReader(finished_folder)
    files = files_of(reader, tmp_path)
    with pytest.raises(InputError, match=r"cannot be decoded \(truncated.*parse --verify"):
        open_pixels(Broken(reader), files, ["raw"])
    assert files.missing(["raw"]) == ["raw"]
    open_pixels(reader, files, ["raw"])


def test_room_is_checked_before_anything_is_written(
    finished_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ShardReader(finished_folder)
    files = files_of(reader, tmp_path / "not" / "there")
    assert files.lacking_room(["raw", "shielding"], 1e9) is None
    need = 2 * 23 * 3 * 16 * 8
    assert files.lacking_room(["raw", "shielding"], need) is None
    assert "loading.gigabytes allows 0.0" in str(files.lacking_room(["raw", "shielding"], need - 1))
    usage = pixels.shutil._ntuple_diskusage(10**12, 10**12, pixels.KEEP_FREE_BYTES + need - 1)
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda path: usage)
    assert "23 decoded images at 16x8 (raw, shielding) need 0.0 GB" in str(
        files.lacking_room(["raw", "shielding"], 1e9)
    )
    assert files.lacking_room(["raw"], 1e9) is None


def test_a_full_disk_is_a_clear_error(finished_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ShardReader(finished_folder)
    files = files_of(reader, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(WorkError, match=r"No space left on device.*loading\.pixels=never"):
        open_pixels(reader, files, ["raw"])
    monkeypatch.undo()
    open_pixels(reader, files, ["raw"])


class Slow:
    """The images of a reader, each written down in a log when it is decoded, and slowly.

    As long as a file ``hold`` lies beside the log, nobody gets farther than the first twelve.
    """

    def __init__(self, reader: ShardReader, log: Path) -> None:
        self._reader = reader
        self._log = log

    def image(self, index: int) -> np.ndarray:
        time.sleep(0.02)
        while index >= 12 and self._log.with_name("hold").exists():
            time.sleep(0.01)
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{index}\n".encode())
        os.close(descriptor)
        return self._reader.image(index)

    def mask(self, index: int) -> np.ndarray:
        return self._reader.mask(index)


def build(shards: Path, folder: Path, log: Path, sync_bytes: int) -> None:
    pixels.SYNC_BYTES = sync_bytes
    reader = ShardReader(shards)
    cache = open_pixels(Slow(reader, log), files_of(reader, folder), ["raw", "shielding"], threads=2)
    everything = np.arange(len(reader))
    for view in ("raw", "shielding"):
        planes = read(cache, view, everything)
        assert all((planes[index] == expected(reader, index, view)).all() for index in everything)


def test_two_processes_build_at_once_and_each_image_is_decoded_once(finished_folder: Path, tmp_path: Path) -> None:
    ShardReader(finished_folder)
    context = multiprocessing.get_context("spawn")
    arguments = (finished_folder, tmp_path / "pixels", tmp_path / "log", 1 << 20)
    workers = [context.Process(target=build, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    decoded = (tmp_path / "log").read_text().split()
    assert sorted(map(int, decoded)) == list(range(23))


def test_a_killed_builder_leaves_nothing_finished_and_the_next_goes_on(finished_folder: Path, tmp_path: Path) -> None:
    reader = ShardReader(finished_folder)
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=build, args=(finished_folder, tmp_path / "pixels", log, 1))
    (tmp_path / "hold").touch()
    worker.start()
    progress = tmp_path / "pixels" / f".{files_of(reader, tmp_path / 'pixels').key}.progress"
    while not progress.exists() or json.loads(progress.read_text())["images"] < 5:
        assert worker.is_alive()
        time.sleep(0.002)
    os.kill(worker.pid, signal.SIGKILL)  # type: ignore[arg-type]
    worker.join()
    (tmp_path / "hold").unlink()
    assert not list((tmp_path / "pixels").glob("*.npy"))
    noted = json.loads(progress.read_text())["images"]
    before = len(log.read_text().split())
    progress.with_name(f".{progress.name}.abc.tmp").touch()  # what a kill within the writing of a note leaves
    build(finished_folder, tmp_path / "pixels", log, 1)  # checks every pixel
    again = [int(index) for index in log.read_text().split()[before:]]
    assert sorted(again) == list(range(noted, 23))  # what was noted is not decoded again, all else is
    names = [path.name for path in (tmp_path / "pixels").iterdir() if not path.name.endswith(".lock")]
    assert len(names) == 2
    assert all(name.endswith(".npy") for name in names)


@pytest.mark.parametrize("spoil", ["progress", "shortened", "other views"])
def test_an_unfinished_build_that_does_not_fit_is_begun_anew(finished_folder: Path, tmp_path: Path, spoil: str) -> None:
    reader = ShardReader(finished_folder)
    files = files_of(reader, tmp_path)
    views: list[View] = ["raw", "shielding"]
    for view in views:
        partial = tmp_path / f".{files.path(view).name}.partial"
        partial.write_bytes(b"\xff" * (128 + files.bytes_of_view - (spoil == "shortened")))
    note = {"progress": "{", "shortened": '{"images": 9, "views": ["raw", "shielding"]}'}
    (tmp_path / f".{files.key}.progress").write_text(note.get(spoil, '{"images": 9, "views": ["raw"]}'))
    cache = open_pixels(reader, files, views)
    for view in views:
        planes = read(cache, view, np.arange(len(reader)))
        assert all((planes[index] == expected(reader, index, view)).all() for index in range(len(reader)))
