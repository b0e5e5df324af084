"""How long the parser ``lite`` takes for an image on one core, by way to compute, and whether its labels stay.

    python benchmarks/lite.py --images FOLDER
    python benchmarks/lite.py --images FOLDER --count 64 --rounds 7 --ways "torch;onnxruntime"

Images are resized to the network's own input first, as crops of people are of that size or smaller. The ways take
turns; the figures are processor time of this process with one thread, so that other work on the machine counts for
little: the median over the rounds, for the network with its input and the mirror image; labelling, which is the same
for all, is timed apart. ``pixels`` is the share of all pixels that have the label of ``torch``, and ``worst`` that of
the image where it is least. The first call of a way, which may compile, is timed apart, too.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.errors import BadImageError
from pipeline.images import LabelMap, RgbImage, decode_image, resize_image
from pipeline.parsing.lite.backend import LiteParser, create_lite, label, normalise, without_bags
from pipeline.parsing.scoring.ground_truth import IMAGE_SUFFIXES

Way = Callable[[Sequence[RgbImage]], list[Tensor]]
"""From images of the network's size to the logits of each."""


def _as_the_parser(parser: LiteParser, images: Sequence[RgbImage]) -> list[Tensor]:
    return [parser._logits(torch.from_numpy(image)[None])[0] for image in images]


def _whole(network: Callable[[Tensor], Tensor], mirrored: Tensor, batch: Tensor) -> Tensor:
    """The parser's logits of images that are normalised."""
    straight, other = network(torch.cat([batch, batch.flip(3)])).float().chunk(2)
    return without_bags((straight + other.flip(3).index_select(1, mirrored)) / 2)


@torch.inference_mode()
def _by_torch(
    network: Callable[[Tensor], Tensor], mirrored: Tensor, batch: int, short: bool, images: Sequence[RgbImage]
) -> list[Tensor]:
    """In batches, in bfloat16 if it shall be ``short``."""
    found: list[Tensor] = []
    for start in range(0, len(images), batch):
        inputs = normalise(torch.from_numpy(np.stack(images[start : start + batch])))
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            found += list(_whole(network, mirrored, inputs))
    return found


def _lite(**settings: Any) -> LiteParser:
    return cast(LiteParser, create_lite(**settings))


def make_ways() -> Mapping[str, Callable[[], Way]]:
    """Each way by name, made when it is wanted."""

    def variant(batch: int = 1, short: bool = False, compiled: bool = False) -> Way:
        parser = _lite()
        network = torch.compile(parser._network) if compiled else parser._network
        return partial(_by_torch, network, parser._mirrored, batch, short)

    return {
        "torch": lambda: partial(_as_the_parser, _lite()),
        "torch, 2 at once": lambda: variant(2),
        "torch, 8 at once": lambda: variant(8),
        "torch, bfloat16": lambda: variant(short=True),
        "torch, bfloat16, 8 at once": lambda: variant(8, short=True),
        "torch.compile": lambda: variant(compiled=True),
        "onnxruntime": lambda: partial(_as_the_parser, _lite(backend="onnxruntime")),
    }


def _read(folder: Path, count: int) -> list[RgbImage]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    size = _lite()._size
    images = []
    for path in paths[:: max(1, len(paths) // count)][:count]:
        try:
            images.append(resize_image(decode_image(path.read_bytes()), size))
        except BadImageError as error:
            raise SystemExit(f"{path}: {error}") from None
    return images


def _labels(logits: Sequence[Tensor], images: Sequence[RgbImage]) -> list[LabelMap]:
    return [label(one, *image.shape[:2]).label_map for one, image in zip(logits, images, strict=True)]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder with images of people, searched through")
    parser.add_argument("--count", type=int, default=64, help="images, evenly spread over the folder; default: 64")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--ways", default=None, help=f"some of: {', '.join(make_ways())}; default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    images = _read(options.images, options.count)
    chosen = list(make_ways()) if options.ways is None else [name.strip() for name in options.ways.split(";")]
    ways: dict[str, Way] = {}
    first: dict[str, float] = {}
    labels: dict[str, list[LabelMap]] = {}
    for name in dict.fromkeys(["torch", *chosen]):
        started = time.process_time()
        ways[name] = make_ways()[name]()
        ways[name](images[:8])
        first[name] = time.process_time() - started
        labels[name] = _labels(ways[name](images), images)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    labelling: list[float] = []
    for _ in range(options.rounds):
        for name, way in ways.items():
            started = time.process_time()
            logits = way(images)
            spent[name].append(1000 * (time.process_time() - started) / len(images))
        started = time.process_time()
        _labels(logits, images)
        labelling.append(1000 * (time.process_time() - started) / len(images))
    print(f"{len(images)} images at {images[0].shape[0]} x {images[0].shape[1]}, one thread, torch {torch.__version__}")
    print(f"labelling: {statistics.median(labelling):.2f} ms an image, besides\n")
    print("| way | ms an image | of torch | first call, s | pixels | worst |\n|---|---|---|---|---|---|")
    usual = statistics.median(spent["torch"])
    for name, times in spent.items():
        equal = [float(np.mean(one == other)) for one, other in zip(labels[name], labels["torch"], strict=True)]
        middle = statistics.median(times)
        figures = f"{middle:.1f} | {middle / usual:.2f} | {first[name]:.1f} | {np.mean(equal):.5f} | {min(equal):.5f}"
        print(f"| {name} | {figures} |")


if __name__ == "__main__":
    main()
