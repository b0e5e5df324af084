"""How many crops of people can be redressed per second on one core? Walkers of 256 x 128 pixels with true label maps.

    python benchmarks/redress.py
    python benchmarks/redress.py --shards artifacts/my_people/shards    # any parsed data set, resized to 256 x 128

Decoding and encoding are not timed. Seconds are those of the processor, of one thread, the best of forty rounds: a
virtual machine is at times twice as slow as at others.
"""

import argparse
import itertools
import os
import time
from pathlib import Path

import cv2
import numpy as np

from pipeline.datasets.walkers.rows import render_all
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.garments import CLOTHES
from pipeline.images import LabelMap, RgbImage, decode_image, decode_label_map, resize_image
from pipeline.labels import LIP
from pipeline.redress.donors import measure_outfit
from pipeline.redress.outfits import Outfit, draw_outfit
from pipeline.redress.redress import redress
from pipeline.redress.regions import RegionTable, region_table
from pipeline.shards.reader import ShardReader

SIZE = (256, 128)
ROUNDS = 40
Crop = tuple[RgbImage, LabelMap]


def walkers(count: int) -> list[Crop]:
    """Rendered people with their label maps."""
    settings = SynthSettings(height=SIZE[0], train_identities=4, test_identities=2, outfits=3, images_per_outfit=8)
    shots = itertools.islice(render_all(settings, 0, False, 1, lambda done: None), count)
    return [(decode_image(shot.image), decode_label_map(shot.label_map)) for shot in shots]


def parsed(shards: Path, count: int) -> tuple[list[Crop], tuple[str, ...]]:
    """People of a shard folder, and its labels."""
    reader = ShardReader(shards, copy=False)
    rows = np.linspace(0, len(reader) - 1, count).astype(int).tolist()
    crops = [
        (
            resize_image(reader.image(row), SIZE),
            np.asarray(cv2.resize(reader.label_map(row), SIZE[::-1], interpolation=cv2.INTER_NEAREST), dtype=np.uint8),
        )
        for row in rows
    ]
    return crops, tuple(reader.metadata.labels)


def rate(crops: list[Crop], outfits: list[Outfit], table: RegionTable) -> float:
    """Crops per second of processor time."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for number, (image, labels) in enumerate(crops):
            redress(image, labels, outfits[number % len(outfits)], table)
        best = min(best, time.process_time() - start)
    return len(crops) / best


def main() -> None:
    """Time the three kinds and print them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shards", type=Path, help="a parsed data set in the place of walkers")
    options.add_argument("--crops", type=int, default=100)
    given = options.parse_args()
    cv2.setNumThreads(1)
    crops, labels = (walkers(given.crops), LIP.labels) if given.shards is None else parsed(given.shards, given.crops)
    table = region_table(labels, CLOTHES)
    share = float(np.mean([(table.numbers[labels] > 0).mean() for _, labels in crops]))
    print(f"{len(crops)} crops of {SIZE[0]} x {SIZE[1]}, garments on {100 * share:.0f}% of the pixels, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    kinds: dict[str, list[Outfit]] = {
        "colour": [draw_outfit("colour", seed) for seed in range(20)],
        "texture": [draw_outfit("texture", seed) for seed in range(20)],
        "donor": [outfit for crop in crops[:20] if (outfit := measure_outfit(*crop, table))],
    }
    for kind, outfits in kinds.items():
        print(f"{kind:<8} {rate(crops, outfits, table):8.0f} crops per second and core")


if __name__ == "__main__":
    main()
