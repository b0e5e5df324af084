"""What ``benchmarks/gpu.py`` measures of extraction: features of JPEGs, beside decoding and the network alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from gpu_parts import (
    SHORT,
    Row,
    Size,
    allow_tf32,
    forward_flops,
    load,
    milliseconds,
    peak_gigabytes,
    precisions,
    reset_peak,
)

from pipeline.features.extraction import encode_images
from pipeline.images import Mask, RgbImage, decode_image
from pipeline.precision import PrecisionName, autocast
from pipeline.shards.store import ImageStore, decode_threads

MEAN = STD = (0.5, 0.5, 0.5)
DIFFERENT = 64
"""Images; more are the same ones again, decoded each time."""
COARSE, GRAIN = 16, 3
"""Large soft patches and some grain: 8.5 kB a picture of 256x128; PKU-Reid has 9.0, street photographs 11.6."""
QUALITY = 90


@dataclass(frozen=True)
class JpegImages:
    """A source of images that lie encoded in memory, as they do in a shard that the system has read."""

    encoded: Sequence[bytes]

    def image(self, index: int) -> RgbImage:
        """The image, decoded: uint8 (height, width, 3)."""
        return decode_image(self.encoded[index % len(self.encoded)])

    def mask(self, index: int) -> Mask:
        """Clothes nowhere: the pictures show nobody; extraction asks for raw images only."""
        return np.zeros(self.image(index).shape[:2], dtype=bool)


def make_jpegs(height: int, width: int, count: int) -> JpegImages:
    """Random pictures of a size."""
    generator = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (max(2, height // COARSE), max(2, width // COARSE), 3)).astype(np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        fine += generator.normal(0, GRAIN, fine.shape)
        pixels = np.clip(fine, 0, 255).astype(np.uint8)
        encoded.append(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
    return JpegImages(encoded)


def extraction(device: str, size: Size) -> Iterator[Row]:
    """Features as ``extract`` makes them, beside decoding alone and the network alone on images that are there."""
    encoder = load(size).image_encoder.to(device).eval()
    flops = forward_flops(encoder, size.image)
    images = ImageStore(make_jpegs(*size.image, DIFFERENT), size.image, threads=decode_threads())
    at_once = min(128, size.images)
    ready = torch.randn(at_once, 3, *size.image).to(device)

    def decode() -> None:
        for start in range(0, size.images, at_once):
            images.raw(range(start, min(start + at_once, size.images)))

    decoded = 1000 * size.images / milliseconds(decode, "cpu", 1, 1)
    for precision in precisions(device):
        allow_tf32(precision == "tf32")

        def whole(numbers: PrecisionName = SHORT[precision]) -> None:
            encode_images(
                encoder, images.raw, range(size.images), lambda f: f.joined,
                mean=MEAN, std=STD, batch_size=at_once, device=device, precision=numbers, quiet=True,
            )  # fmt: skip

        def bare(numbers: PrecisionName = SHORT[precision]) -> None:
            with torch.no_grad(), autocast(numbers, torch.device(device)):
                encoder(ready)

        reset_peak(device)
        rate = 1000 * size.images / milliseconds(whole, device, 1, 1)
        bare_rate = 1000 * at_once / milliseconds(bare, device, size.steps)
        yield {
            "precision": precision,
            "images_per_second": rate,
            "bare_images_per_second": bare_rate,
            "of_bare": rate / bare_rate,
            "decoded_images_per_second": decoded,
            "image_flops": flops,
            "peak_gigabytes": peak_gigabytes(device),
        }
