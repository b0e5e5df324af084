"""Times reading images back, and augmented training views, beside the usual ways, on the same images in one run.

    python benchmarks/reading.py --shards artifacts/prcc/shards

Reading, in random order, into arrays: (a) Pillow opens the same files one by one from a folder, as they were and as
JPEG of quality 90, with and without the resize to the model's size; (b) this package decodes the stored bytes, one by
one; (c) this package gathers batches from its memory-mapped pixels. Views, raw and shielding of one image with one
geometry, float tensors: (d) Pillow and torchvision's v1 transforms (open, resize, flip, pad, crop, to tensor,
normalise, erase) image by image, as data loaders do; (e) batches of this package that decode at each use; (f) from its
pixels.

Rates are images (pairs for views) a second of processor time with one thread, so that other work on the machine hardly
counts; wall-clock rates are beside them. Every row is the median of interleaved rounds. "checks" says what the run
compared: pixels of (c) with those of decoding, and views of (f) with those of (e).
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms as T

from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import ImageStore, open_store
from pipeline.training.batches import EncoderData
from pipeline.training.classes import index_classes
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import ViewSettings

MEAN = STD = (0.5, 0.5, 0.5)
PAD, FLIP, ERASE = 10, 0.5, 0.5
BATCH, PERSONS = 64, 16
LEAST_SECONDS = 0.3  # of processor time a way and round
SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff\xe0": ".jpg", b"\xff\xd8\xff\xe1": ".jpg"}


def write_folder(reader: ShardReader, rows: NDArray[np.int64], folder: Path) -> dict[str, list[Path]]:
    """The images as files: as they were, as JPEG, and the shielding images."""
    files: dict[str, list[Path]] = {"original": [], "jpeg": [], "shielding": []}
    for row in rows.tolist():
        data = reader.encoded(row)
        original = folder / f"{row}{SUFFIXES.get(data[:4], '.img')}"
        original.write_bytes(data)
        jpeg, shielding = folder / f"{row}-90.jpg", folder / f"{row}-shielding.png"
        Image.fromarray(reader.image(row)).save(jpeg, quality=90)
        shielding.write_bytes(reader.encoded(row, "shielded_image"))
        for name, path in (("original", original), ("jpeg", jpeg), ("shielding", shielding)):
            files[name].append(path)
    return files


def pillow(paths: Sequence[Path], size: tuple[int, int] | None) -> None:
    """One file after the other."""
    for path in paths:
        image = Image.open(path).convert("RGB")
        if size is not None:
            image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        np.asarray(image)


def torchvision_views(pairs: Sequence[tuple[Path, Path]], size: tuple[int, int]) -> list[torch.Tensor]:
    """Raw and shielding views with the classes of torchvision v1, sharing geometry and noise by torch's own state."""
    whole = T.Compose(
        [
            T.Resize(size, interpolation=T.InterpolationMode.BICUBIC),
            T.RandomHorizontalFlip(FLIP),
            T.Pad(PAD),
            T.RandomCrop(size),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
            T.RandomErasing(ERASE, scale=(0.02, 1 / 3), value="random"),
        ]
    )
    batches = []
    views: list[tuple[torch.Tensor, torch.Tensor]] = []
    for raw, shielding in pairs:
        state = torch.get_rng_state()
        first = whole(Image.open(raw).convert("RGB"))
        torch.set_rng_state(state)
        views.append((first, whole(Image.open(shielding).convert("RGB"))))
        if len(views) == BATCH:
            batches = [torch.stack(column) for column in zip(*views, strict=True)]
            views = []
    return batches


def drain(data: EncoderData, epoch: int) -> int:
    """Make an epoch's batches; gives the number of pairs."""
    return sum(len(batch.raw) for batch in data.epoch(epoch).batches)


class Table:
    """Rates of several ways of doing the same, in interleaved rounds."""

    def __init__(self) -> None:
        self._ways: dict[str, Callable[[int], int]] = {}
        self._rates: dict[str, list[tuple[float, float]]] = {}

    def add(self, name: str, way: Callable[[int], int]) -> None:
        """``way`` does the work of a round and says how many images it did."""
        self._ways[name] = way
        self._rates[name] = []
        way(0)  # what the first call pays for is not the way's steady rate

    def measure(self, rounds: int) -> dict[str, dict[str, float]]:
        """Median images a second of processor time and of wall-clock time."""
        for number in range(rounds):
            for name, way in self._ways.items():
                wall, processor = time.perf_counter(), time.process_time()
                images = way(number)
                while time.process_time() - processor < LEAST_SECONDS:
                    images += way(number)
                spent = time.process_time() - processor, time.perf_counter() - wall
                self._rates[name].append((images / spent[0], images / spent[1]))
        medians = {
            name: [statistics.median(some) for some in zip(*rates, strict=True)] for name, rates in self._rates.items()
        }
        return {
            name: {"per_core_second": round(own, 1), "per_second": round(wall, 1)}
            for name, (own, wall) in medians.items()
        }


def measure_reading(
    reader: ShardReader, rows: NDArray[np.int64], store: ImageStore, files: dict[str, list[Path]], rounds: int
) -> dict[str, Any]:
    """Part one: decoded images."""
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = rows[order]
    table = Table()

    def one_by_one(paths: list[Path], size: tuple[int, int] | None) -> Callable[[int], int]:
        def way(_: int) -> int:
            pillow([paths[place] for place in order], size)
            return len(paths)

        return way

    def encoded(_: int) -> int:
        for row in shuffled:
            reader.image(int(row))
        return len(shuffled)

    def gather(views: int) -> Callable[[int], int]:
        def way(_: int) -> int:
            for start in range(0, len(shuffled), BATCH):
                if views == 1:
                    store.raw(shuffled[start : start + BATCH])
                else:
                    store.pairs(shuffled[start : start + BATCH])
            return len(shuffled)

        return way

    for name in ("original", "jpeg"):
        table.add(f"a_pillow_{name}", one_by_one(files[name], None))
        table.add(f"a_pillow_{name}_resized", one_by_one(files[name], store.size))
    table.add("b_decode_stored_bytes", encoded)
    table.add("c_pixels_raw", gather(1))
    table.add("c_pixels_raw_and_shielding", gather(2))
    result: dict[str, Any] = dict(table.measure(rounds))
    ours = result["c_pixels_raw"]["per_core_second"]
    result["c_raw_to_pillow"] = {
        name: round(ours / result[f"a_pillow_{name}"]["per_core_second"], 1)
        for name in ("original", "original_resized", "jpeg", "jpeg_resized")
    }
    result["c_raw_to_pillow_by_the_clock"] = round(
        result["c_pixels_raw"]["per_second"] / result["a_pillow_original"]["per_second"], 1
    )
    return result


def measure_views(
    data: EncoderData, decoding: EncoderData, pairs: list[tuple[Path, Path]], rounds: int
) -> dict[str, Any]:
    """Part two: augmented pairs."""
    table = Table()
    size = data.store.size

    def usual(number: int) -> int:
        random.Random(number).shuffle(pairs)
        torchvision_views(pairs, size)
        return len(pairs)

    table.add("d_pillow_torchvision_v1", usual)
    table.add("e_decoding_each_time", lambda number: drain(decoding, number))
    table.add("f_from_pixels", lambda number: drain(data, number))
    result: dict[str, Any] = dict(table.measure(rounds))
    usual_rate = result["d_pillow_torchvision_v1"]["per_core_second"]
    for name in ("e_decoding_each_time", "f_from_pixels"):
        result[f"{name}_to_d"] = round(result[name]["per_core_second"] / usual_rate, 1)
    result["f_milliseconds_a_batch_of_64"] = round(1000 * BATCH / result["f_from_pixels"]["per_core_second"], 2)
    return result


def measure_waiting(data: EncoderData, step_seconds: float) -> dict[str, float]:
    """Share of a step that is spent waiting for its batch, if a step takes ``step_seconds`` and nobody else works."""
    waits = []
    batches = iter(data.epoch(0).batches)
    while True:
        started = time.perf_counter()
        if next(batches, None) is None:
            break
        waits.append(time.perf_counter() - started)
        time.sleep(step_seconds)
    return {
        "step_seconds": step_seconds,
        "first_batch_seconds": round(waits[0], 4),
        "waiting_share_after_it": round(sum(waits[1:]) / (len(waits[1:]) * step_seconds), 4),
    }


def main() -> None:
    """Measure and print one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shards", type=Path, required=True, help="finished shard folder of any data set")
    arguments.add_argument("--images", type=int, default=1024, help="how many of its images")
    arguments.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    size = (options.size[0], options.size[1])

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        reader = ShardReader(options.shards, folder / "cache")
        rows = np.sort(np.random.default_rng(1).permutation(len(reader))[: options.images])
        (folder / "images").mkdir()
        files = write_folder(reader, rows, folder / "images")
        started = time.process_time()
        store = open_store(reader, rows, size, LoadingSettings(pixels="always"), folder=folder / "cache")
        built = time.process_time() - started
        plain = open_store(reader, rows, size, LoadingSettings(pixels="never"), threads=1)
        labels = index_classes(reader.ids.person_id[rows]).labels
        data = EncoderData(
            store=store,
            rows=rows,
            identities=labels,
            clothes_classes=labels,
            sampler=IdentitySampler(labels, PERSONS, BATCH // PERSONS, 0),
            mean=MEAN,
            std=STD,
            views=ViewSettings(flip_probability=FLIP, pad=PAD, erase_probability=ERASE),
            loading=LoadingSettings(ahead=0),
        )
        decoding = replace(data, store=plain)
        same_pixels = all(torch.equal(*some) for some in zip(store.pairs(rows), plain.pairs(rows), strict=True))
        batches = zip(data.epoch(0).batches, decoding.epoch(0).batches, strict=True)
        same_views = True
        for ours, theirs in batches:
            assert ours.shielding is not None
            assert theirs.shielding is not None
            same_views &= torch.equal(ours.raw, theirs.raw) and torch.equal(ours.shielding, theirs.shielding)
        pairs = list(zip(files["original"], files["shielding"], strict=True))
        result = {
            "images": len(rows),
            "size": size,
            "mean_size_of_the_files": [
                round(float(side[rows].mean())) for side in (reader.ids.height, reader.ids.width)
            ],
            "checks": {"same_pixels": same_pixels, "same_views": same_views},
            "pixels_made_once_images_per_core_second": round(len(rows) / built, 1),
            "reading": measure_reading(reader, rows, store, files, options.rounds),
            "views": measure_views(data, decoding, pairs, options.rounds),
            "waiting": measure_waiting(replace(data, loading=LoadingSettings(threads=2, ahead=4)), 0.1),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
