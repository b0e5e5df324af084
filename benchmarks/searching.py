"""How long `search` takes on a large gallery, and how near `embed` comes to the bare network.

    python benchmarks/searching.py search --rows 1000000
    python benchmarks/searching.py embed --images FOLDER [--checkpoint ENCODER]

`search` writes random features of 1,280 numbers and asks for the ten nearest of one query and of a hundred, in a
process of its own, whose peak memory is measured. `embed` runs the images of a folder through embed_list, and the same
network on batches that were decoded beforehand; each is timed three times in turn, and the median counts.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from pipeline.device import choose_device, set_threads
from pipeline.features.embedding import Encoder, rgb_pixels
from pipeline.features.encoders import frozen_encoder, trained_encoder
from pipeline.features.extraction import results_ahead
from pipeline.features.feature_set import FeatureSet, feature_table, write_feature_parts
from pipeline.features.gallery import open_gallery, search
from pipeline.features.gallery_conditions import choose_rows
from pipeline.features.image_list import list_inputs
from pipeline.features.parts import embed_list
from pipeline.features.settings import FeatureSettings
from pipeline.images import resize_image
from pipeline.models.settings import ModelSettings
from pipeline.overlap import launch_ahead

DIMENSION = 1280
PART = 20_000


def _parts(rows: int) -> Iterator[pa.Table]:
    generator = np.random.default_rng(0)
    for start in range(0, rows, PART):
        ids = np.arange(start, min(start + PART, rows))
        features = generator.standard_normal((len(ids), DIMENSION), dtype=np.float32)
        unknown = np.full(len(ids), -1)
        names, roles = ids.astype(str), np.full(len(ids), "gallery")
        yield feature_table(FeatureSet(features, names, roles, ids // 10, ids % 8, unknown, unknown))


def measure_search(path: Path) -> None:
    """Time searches in a file, and print the peak memory of this process."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    gallery = open_gallery(path)
    print(f"{len(gallery):,} rows opened in {time.perf_counter() - start:.2f} s")
    generator = np.random.default_rng(1)
    chosen = choose_rows(gallery, "camera_id != 3")
    for count, mask, what in ((1, None, "1 query"), (100, None, "100 queries"), (1, chosen, "1 query, camera_id != 3")):
        queries = generator.standard_normal((count, DIMENSION), dtype=np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        start, used = time.perf_counter(), time.process_time()
        search(gallery, queries, 10, chosen=mask)
        print(f"{what}: {time.perf_counter() - start:.2f} s, {time.process_time() - used:.2f} s of processor time")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB (mapped pages count)")


def measure_embed(images: Path, checkpoint: Path | None, device: str, batch_size: int) -> None:
    """Time embed_list and the network alone, in turn."""
    set_threads(0)
    settings = ModelSettings(name="ViT-B-16", pretrained=None)
    chosen = frozen_encoder(settings, 0) if checkpoint is None else trained_encoder(checkpoint)
    encoder = Encoder(chosen, choose_device(device), FeatureSettings(batch_size=batch_size))
    listed = list_inputs([str(images)])
    places = [images / path for path in listed.rows["path"].to_pylist()]
    batch = [resize_image(rgb_pixels(place), encoder.size) for place in places[:batch_size]]
    pixels, cameras = torch.from_numpy(np.stack(batch)), np.full(len(batch), -1)
    encoder.launch(pixels, cameras)()
    alone, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            start = time.perf_counter()
            counts = [min(batch_size, len(listed) - first) for first in range(0, len(listed), batch_size)]
            ahead = results_ahead(encoder.device)
            for _ in launch_ahead(lambda count: encoder.launch(pixels[:count], cameras[:count]), counts, ahead):
                pass
            alone.append(len(listed) / (time.perf_counter() - start))
            start = time.perf_counter()
            embed_list(encoder, listed, Path(folder) / f"{number}.parquet", max_pixels=64_000_000, quiet=True)
            whole.append(len(listed) / (time.perf_counter() - start))
    one, other = statistics.median(alone), statistics.median(whole)
    print(f"{chosen.spec.name} at {encoder.size}, {len(listed)} images, batches of {batch_size}, {encoder.device}")
    print(f"network alone {one:.1f} images/s, embed {other:.1f}: {other / one:.2f}; load {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["search", "embed"])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the gallery")
    parser.add_argument("--measure", type=Path, help="a gallery that is there already")
    parser.add_argument("--images", type=Path, help="folder of images")
    parser.add_argument("--checkpoint", type=Path, help="encoder; default: a random ViT-B/16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=128)
    given = parser.parse_args()
    if given.what == "embed":
        measure_embed(given.images, given.checkpoint, given.device, given.batch_size)
    elif given.measure is not None:
        measure_search(given.measure)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "gallery.parquet"
            write_feature_parts(path, _parts(given.rows), {})
            print(f"{path.stat().st_size / 1e9:.2f} GB written", flush=True)
            subprocess.run([sys.executable, __file__, "search", "--measure", str(path)], check=True)


if __name__ == "__main__":
    main()
