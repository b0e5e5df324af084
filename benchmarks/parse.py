"""Times the parse stage beside its limit and beside a plain loop, on real images, in one run.

    python benchmarks/parse.py --dataset pku_reid_74 --root DATA --images 1184

(a) the limit: the parser alone on decoded batches, one thread; (b) a plain loop as published extractors do it: one
image at a time, decoded and saved with Pillow, with one thread and with torch's own choice; (c) the stage with one and
with two workers of one thread, its start-up told apart. Fewer images than asked for are repeated under other names.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from pipeline.datasets.catalog import dataset_folder, load_facts, read_dataset
from pipeline.datasets.manifest import ManifestRow, build_manifest
from pipeline.images import RgbImage, decode_image
from pipeline.parsing.masks import clothes_mask, shielding_image
from pipeline.parsing.parser import Parser, Parsing
from pipeline.shards.job import RunSettings, run_job
from pipeline.shards.plan import ParseSettings
from pipeline.shards.worker import build_parser

BATCH = 16
LOOP_IMAGES = 256  # the plain loop is steady from the first image, so that many are enough


def repeat_rows(manifest: pa.Table, images: int) -> pa.Table:
    """The first ``images`` rows; when there are fewer, again and again under other split names."""
    rows = []
    names = ["path", "split", "person_id", "camera_id", "clothes_id", "tracklet_id"]
    originals = manifest.select(names).to_pylist()
    for number in range(images):
        turn, index = divmod(number, len(originals))
        row = ManifestRow(**originals[index])
        rows.append(replace(row, split=f"{turn:04d}-{row.split}"))
    return build_manifest(rows)


def timed(work: Callable[[], None], images: int) -> float:
    """Images a second."""
    started = time.perf_counter()
    work()
    return images / (time.perf_counter() - started)


def bare_parser(parser: Parser, decoded: list[RgbImage]) -> None:
    """The limit: nothing but the parser."""
    for start in range(0, len(decoded), BATCH):
        parser.parse(decoded[start : start + BATCH])


def plain_loop(parser: Parser, paths: list[Path], out: Path) -> None:
    """One image after the other, saved as three PNG files."""
    clothes = parser.scheme.clothes_labels(None)
    for number, path in enumerate(paths):
        image = np.asarray(Image.open(path).convert("RGB"))
        (parsing,) = parser.parse([image])
        assert isinstance(parsing, Parsing), f"{path} cannot be parsed: {parsing}"
        mask = clothes_mask(parsing.label_map, clothes)
        Image.fromarray(parsing.label_map).save(out / f"{number}-labels.png")
        Image.fromarray(mask).save(out / f"{number}-mask.png")
        Image.fromarray(shielding_image(image, mask)).save(out / f"{number}-shielded.png")


def stage(manifest: pa.Table, folder: Path, settings: ParseSettings, workers: int) -> dict[str, Any]:
    """The stage itself, into a temporary folder."""
    with tempfile.TemporaryDirectory() as out:
        run = RunSettings(workers=workers, threads=1, batch_size=BATCH, device="cpu")
        timings = run_job("benchmark", manifest, folder, Path(out) / "shards", settings, run, quiet=True).timings
    return {"images_per_second": round(timings.images_per_second, 1), "startup_seconds": timings.startup_seconds}


def main() -> None:
    """Measure and print one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dataset", default="pku_reid_74")
    arguments.add_argument("--root", default=os.environ.get("CCAF_DATA"))
    arguments.add_argument("--images", type=int, default=1184)
    arguments.add_argument("--parser", default="lite")
    arguments.add_argument("--settings", type=json.loads, default={}, help="the parser's settings, as JSON")
    options = arguments.parse_args()

    facts = load_facts(options.dataset)
    folder = dataset_folder(facts, options.root, os.environ)
    manifest = repeat_rows(read_dataset(facts, folder).manifest, options.images)
    settings = ParseSettings(options.parser, options.settings, None, "white", 0, False, 512, 64, 64_000_000, 0.02, 0.6)
    paths = [folder / path for path in manifest["path"].to_pylist()]
    some = paths[:LOOP_IMAGES]
    decoded = [decode_image(path.read_bytes()) for path in paths]
    parser = build_parser(settings, "cpu")
    own_threads = torch.get_num_threads()
    result: dict[str, Any] = {"images": options.images, "parser": options.parser, "cpus": len(os.sched_getaffinity(0))}

    torch.set_num_threads(1)
    bare_parser(parser, decoded[: 4 * BATCH])  # the first batches pay for allocations
    result["a_bare_parser"] = round(timed(lambda: bare_parser(parser, decoded), options.images), 1)
    for name, threads in (("b_plain_loop_1_thread", 1), (f"b_plain_loop_{own_threads}_threads", own_threads)):
        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as out:
            result[name] = round(timed(lambda: plain_loop(parser, some, Path(out)), len(some)), 1)
    for workers in (1, 2):
        result[f"c_stage_{workers}_workers"] = stage(manifest, folder, settings, workers)
    one = result["c_stage_1_workers"]["images_per_second"]
    result["stage_1_worker_of_limit"] = round(one / result["a_bare_parser"], 3)
    result["2_workers_to_1"] = round(result["c_stage_2_workers"]["images_per_second"] / one, 3)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
