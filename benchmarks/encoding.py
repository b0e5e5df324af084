"""What it costs to store the shielding image: bytes, and processor time to encode and to decode it, by way.

    python benchmarks/encoding.py --shards data/walkers-shards
    python benchmarks/encoding.py --shards data/walkers-shards --images 64 --rounds 7

The pictures are those of the shards. Every way is lossless, which is checked for each picture; ways whose package is
not installed are left out and named (``pip install imagecodecs fpng`` brings all). The ways take turns, picture by
picture, and the median over the rounds is shown, in processor time of this thread, so that other work on the machine
counts for little. ``mask alone`` stores nothing: the image is made from the original and the mask, which every shard
has.
"""

import argparse
import importlib
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pipeline.images import RgbImage, decode_image, decode_mask, encode_image
from pipeline.parsing.masks import Fill, shielding_image
from pipeline.shards.reader import ShardReader


@dataclass(frozen=True)
class Sample:
    """One row of the shards.

    Attributes:
        original: The original file.
        mask: PNG of the clothes.
        image: The original, decoded.
        shielded: The image with its clothes covered.
    """

    original: bytes
    mask: bytes
    image: RgbImage
    shielded: RgbImage


@dataclass(frozen=True)
class Way:
    """A way to store the shielding image.

    Attributes:
        encode: From a sample to what is stored.
        decode: From what is stored, and the sample's other columns, to the shielding image.
    """

    encode: Callable[[Sample], bytes]
    decode: Callable[[bytes, Sample], RgbImage]


def _opencv(extension: str, options: list[int]) -> Callable[[Sample], bytes]:
    def encode(sample: Sample) -> bytes:
        return cv2.imencode(extension, cv2.cvtColor(sample.shielded, cv2.COLOR_RGB2BGR), options)[1].tobytes()

    return encode


def _png(level: int, strategy: int, filters: int) -> Callable[[Sample], bytes]:
    return _opencv(
        ".png",
        [
            cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy, cv2.IMWRITE_PNG_FILTER, filters,
        ],
    )  # fmt: skip


def _pillow(kind: str, **options: Any) -> Callable[[Sample], bytes]:
    def encode(sample: Sample) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(sample.shielded).save(stream, kind, **options)
        return stream.getvalue()

    return encode


def _by_imagecodecs(encode: Callable[..., bytes], sample: Sample) -> bytes:
    return encode(sample.shielded, level=1)


def _read(stored: bytes, _: Sample) -> RgbImage:
    return decode_image(stored)


def ways(fill: Fill) -> tuple[dict[str, Way], list[str]]:
    """All ways that can be taken here, by name, and what is missing."""
    rle, huffman, plain = cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY, 0
    up, sub, paeth, every = (
        getattr(cv2, f"IMWRITE_PNG_{name}") for name in ("FILTER_UP", "FILTER_SUB", "FILTER_PAETH", "ALL_FILTERS")
    )
    encoders: dict[str, Callable[[Sample], bytes]] = {
        "PNG, OpenCV: level 1, RLE, up (shards)": lambda sample: encode_image(sample.shielded),
        "PNG, OpenCV: level 1, RLE, sub": _png(1, rle, sub),
        "PNG, OpenCV: level 1, RLE, Paeth": _png(1, rle, paeth),
        "PNG, OpenCV: level 1, Huffman, up": _png(1, huffman, up),
        "PNG, OpenCV: level 1, plain, up": _png(1, plain, up),
        "PNG, OpenCV: level 1, plain, all filters": _png(1, plain, every),
        "PNG, OpenCV: level 6, plain, all filters": _png(6, plain, every),
        "PNG, Pillow: level 1": _pillow("PNG", compress_level=1),
        "WebP lossless, OpenCV": _opencv(".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
        "WebP lossless, Pillow: method 0": _pillow("WEBP", lossless=True, method=0, quality=0),
    }
    missing: list[str] = []

    def optional(name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            missing.append(name)
            return None

    if (codecs := optional("imagecodecs")) is not None:
        encoders |= {
            f"PNG, imagecodecs ({library}): level 1": partial(_by_imagecodecs, getattr(codecs, f"{name}_encode"))
            for name, library in (("png", "libpng"), ("spng", "libspng"))
        }
    if (fpng := optional("fpng")) is not None:
        encoders["PNG, fpng"] = lambda sample: fpng.from_ndarray(sample.shielded)
    found = {name: Way(encode, _read) for name, encode in encoders.items()}

    def make(_: bytes, sample: Sample) -> RgbImage:
        return shielding_image(decode_image(sample.original), decode_mask(sample.mask), fill)

    found["mask alone"] = Way(lambda _: b"", make)
    return found, missing


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.thread_time()
    value = work()
    return value, 1000 * (time.thread_time() - started)


def measure(samples: Sequence[Sample], chosen: dict[str, Way], rounds: int) -> dict[str, tuple[float, float, float]]:
    """Mean bytes, and milliseconds to encode and to decode, an image; medians over the rounds.

    Raises:
        AssertionError: A way is not lossless.
    """
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in chosen}
    sizes = dict.fromkeys(chosen, 0)
    for number in range(rounds):
        spent = {name: [0.0, 0.0] for name in chosen}
        for sample in samples:
            for name, way in chosen.items():
                stored, encoding = _timed(partial(way.encode, sample))
                made, decoding = _timed(partial(way.decode, stored, sample))
                assert np.array_equal(made, sample.shielded), f"{name} is not lossless"
                spent[name][0] += encoding
                spent[name][1] += decoding
                sizes[name] += len(stored) if number == 0 else 0
        for name, (encoding, decoding) in spent.items():
            times[name][0].append(encoding / len(samples))
            times[name][1].append(decoding / len(samples))
    return {
        name: (sizes[name] / len(samples), statistics.median(encode), statistics.median(decode))
        for name, (encode, decode) in times.items()
    }


def read_samples(shards: Path, count: int) -> tuple[list[Sample], Fill]:
    """Some rows of shards, evenly spread."""
    reader = ShardReader(shards)
    fill = reader.metadata.fill
    rows = np.unique(np.linspace(0, len(reader) - 1, min(count, len(reader))).astype(int)).tolist()
    samples = []
    for row in rows:
        image, mask = reader.image(row), reader.mask(row)
        encoded = reader.encoded(row), reader.encoded(row, "clothes_mask")
        samples.append(Sample(*encoded, image, shielding_image(image, mask, fill)))
    return samples, fill


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True, help="folder that ccaf-pipeline parse wrote")
    parser.add_argument("--images", type=int, default=64, help="pictures; default: 64")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    samples, fill = read_samples(options.shards, options.images)
    chosen, missing = ways(fill)
    measure(samples[:2], chosen, 1)  # a warm-up
    found = measure(samples, chosen, options.rounds)
    sizes = sorted({sample.image.shape[:2] for sample in samples})
    height, width = sizes[len(sizes) // 2]
    about = f"{len(samples)} pictures of about {height} x {width}"
    print(f"{about}, processor time of one thread, OpenCV {cv2.__version__}")
    print("\n| way | bytes an image | encode, ms | decode, ms |\n|---|---|---|---|")
    for name, (size, encode, decode) in found.items():
        print(f"| {name} | {size:,.0f} | {encode:.2f} | {decode:.2f} |")
    if missing:
        print(f"\nnot installed, so not measured: {', '.join(missing)}")


if __name__ == "__main__":
    main()
