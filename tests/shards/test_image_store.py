"""The store: the same images from pixels on disk and from decoding, and what happens where the disk lacks room."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import WorkError
from pipeline.images import resize_image
from pipeline.parsing.masks import clothes_image, shielding_image
from pipeline.shards import pixels
from pipeline.shards import store as store_module
from pipeline.shards.pixels import PixelFiles, open_pixels
from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import ImageStore, open_store

SIZE = (32, 16)


@pytest.fixture(scope="module")
def reader(picture_shards: Path) -> ShardReader:
    return ShardReader(picture_shards)


def stores(reader: ShardReader, folder: Path) -> dict[str, ImageStore]:
    rows = reader.select("train")
    return {
        "pixels": open_store(reader, rows, SIZE, folder=folder),
        "all views": open_store(reader, rows, SIZE, views=("raw", "shielding", "clothes"), folder=folder),
        "decoding": open_store(reader, rows, SIZE, LoadingSettings(pixels="never"), folder=folder),
    }


def test_all_ways_give_the_images_of_the_definition(reader, tmp_path):
    rows = reader.select("train")
    indices = [int(rows[3]), int(rows[0]), int(rows[3])]
    for name, store in stores(reader, tmp_path).items():
        raw, shielding = store.pairs(indices)
        clothes = store.clothes(indices)
        assert raw.shape == (3, *SIZE, 3), name
        assert torch.equal(store.raw(indices), raw)
        assert torch.equal(store.shielding(indices), shielding)
        for number, index in enumerate(indices):
            image, mask = reader.image(index), reader.mask(index)
            np.testing.assert_array_equal(raw[number], resize_image(image, SIZE))
            np.testing.assert_array_equal(shielding[number], resize_image(shielding_image(image, mask), SIZE))
            np.testing.assert_array_equal(clothes[number], resize_image(clothes_image(image, mask), SIZE))


@pytest.mark.parametrize(("given", "cpus", "used"), [(0, 16, 16), (0, 2, 4), (3, 16, 3)])
def test_as_many_threads_decode_as_there_are_cpus_unless_it_is_said(reader, monkeypatch, given, cpus, used):
    made = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    monkeypatch.setattr(
        store_module,
        "ThreadPoolExecutor",
        lambda count, **more: made.append(count) or ThreadPoolExecutor(count, **more),
    )
    open_store(reader, reader.select("train"), SIZE, LoadingSettings(pixels="never"), threads=given)
    assert made == [used]


def test_images_without_pixels_on_disk_are_decoded(reader, tmp_path):
    made = stores(reader, tmp_path)
    mixed = [int(reader.select("query")[0]), int(reader.select("train")[0])]
    assert torch.equal(made["pixels"].raw(mixed), made["decoding"].raw(mixed))


def test_pixels_are_read_without_decoding_anything(reader, tmp_path, monkeypatch):
    store = open_store(reader, reader.select("train"), SIZE, folder=tmp_path)
    expected = store.pairs(reader.select("train"))
    monkeypatch.setattr(ShardReader, "image", lambda *_: pytest.fail("decoded"))
    again = open_store(reader, reader.select("train"), SIZE, folder=tmp_path)
    for ours, theirs in zip(again.pairs(reader.select("train")), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_batches_are_the_callers_own(reader, tmp_path):
    store = open_store(reader, reader.select("train"), SIZE, folder=tmp_path)
    rows = reader.select("train")
    batch = store.raw(rows[:2])
    before = batch.clone()
    batch.zero_()
    assert torch.equal(store.raw(rows[:2]), before)


def test_where_the_disk_lacks_room_images_are_decoded_or_the_run_is_refused(reader, tmp_path):
    rows = reader.select("train")
    store = open_store(reader, rows, SIZE, LoadingSettings(gigabytes=1e-6), folder=tmp_path)
    assert "images are decoded at each use: 24 decoded images at 32x16" in store.note
    assert not list(tmp_path.iterdir())
    assert torch.equal(store.raw(rows), open_store(reader, rows, SIZE, LoadingSettings(pixels="never")).raw(rows))
    with pytest.raises(WorkError, match=r"loading\.gigabytes allows 0\.0.*loading\.pixels=auto"):
        open_store(reader, rows, SIZE, LoadingSettings(pixels="always", gigabytes=1e-6), folder=tmp_path)


def test_without_build_only_files_that_are_there_are_used(reader, tmp_path, monkeypatch):
    rows = reader.select("query")
    store = open_store(reader, rows, SIZE, views=("raw",), build=False, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    expected = store.raw(rows)
    open_store(reader, rows, SIZE, views=("raw",), folder=tmp_path)
    monkeypatch.setattr(ShardReader, "image", lambda *_: pytest.fail("decoded"))
    assert torch.equal(open_store(reader, rows, SIZE, views=("raw",), build=False, folder=tmp_path).raw(rows), expected)


@pytest.mark.parametrize("policy", ["auto", "never"])
def test_many_threads_and_another_process_read_the_same(reader, tmp_path, policy):
    rows = reader.select("train")
    store = open_store(reader, rows, SIZE, LoadingSettings(pixels=policy), folder=tmp_path)
    expected = store.raw(rows)
    again = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 3000
    with ThreadPoolExecutor(8) as pool:
        for batch in pool.map(lambda number: again.raw(np.roll(rows, number)), range(24)):
            assert any(torch.equal(batch, expected.roll(number, 0)) for number in range(24))


class Noise:
    """Any number of pictures."""

    def image(self, index: int) -> np.ndarray:
        return np.full((256, 128, 3), index % 256, dtype=np.uint8)

    def mask(self, index: int) -> np.ndarray:
        return np.zeros((256, 128), dtype=bool)


def own_megabytes() -> float:
    """Memory of this process that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc/self/status")
def test_memory_of_the_process_does_not_grow_with_the_data(tmp_path):
    before = own_megabytes()
    files = PixelFiles(tmp_path, tmp_path, "0" * 64, np.arange(1000), (256, 128), "white")  # 197 MB in two files
    store = ImageStore(Noise(), (256, 128), pixels=open_pixels(Noise(), files, ["raw", "shielding"], 2))
    for first in range(0, 1000, 50):
        store.pairs(np.arange(first, first + 50))
        store.clothes(np.arange(first, first + 10))
    assert own_megabytes() - before < 60


def test_the_render_version_is_part_of_the_name(reader, tmp_path, monkeypatch):
    rows = reader.select("train")
    open_store(reader, rows, SIZE, folder=tmp_path)
    count = len(list(tmp_path.glob("*.npy")))
    monkeypatch.setattr(pixels, "RENDER_VERSION", 99)
    open_store(reader, rows, SIZE, folder=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2 * count
