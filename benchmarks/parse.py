"""Times the parse stage beside its limit and beside a plain loop, on real images, and its memory, in one run.

    python benchmarks/parse.py --dataset pku_reid_74 --root DATA

(a) the limit: the parser alone on decoded batches, in one process of one thread, and in two at once; (b) a plain loop
as published extractors do it: one image at a time, decoded and saved with Pillow, with one thread and with torch's own
choice; (c) the stage with one and with two workers of one thread, its start-up told apart; (d) the most memory that the
driver and a worker had in runs of growing size, with a parser that costs nothing, so that 100,000 images take minutes.
Fewer images than asked for are repeated under other names.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image

from pipeline.datasets.catalog import dataset_folder, load_facts, read_dataset
from pipeline.datasets.manifest import MANIFEST_SCHEMA, check_manifest
from pipeline.images import RgbImage, decode_image
from pipeline.parsing.masks import clothes_mask, shielding_image
from pipeline.parsing.parser import Parser, Parsing
from pipeline.shards.making.job import run_job
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import build_parser

BATCH = 16
LOOP_IMAGES = 256  # the plain loop is steady from the first image, so that many are enough
SHARD_ROWS = 128  # at the end of a run one of two workers idles for half a shard; in a long run that is nothing
SAMPLE_SECONDS = 0.5

CHEAP_PARSER = """
import numpy as np
from pydantic import BaseModel, ConfigDict
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.labels import LIP

class NoSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

class Cheap:
    name, scheme, weights_sha256 = "cheap", LIP, ""
    def parse(self, images, paths=None):
        maps = [np.zeros(image.shape[:2], np.uint8) for image in images]
        for labels in maps:
            labels[len(labels) // 4 : -len(labels) // 4] = 5
        return [Parsing(labels, 1.0) for labels in maps]

@register_parser("cheap", NoSettings)
def create(device="cpu"):
    return Cheap()
"""
ENTRY_POINTS = "[ccaf_pipeline.parsers]\ncheap = ccaf_cheap_parser\n"


def repeat_rows(manifest: pa.Table, images: int) -> pa.Table:
    """The first ``images`` rows; when there are fewer, again and again under other split names."""
    originals = manifest.select(MANIFEST_SCHEMA.names)
    turns = []
    for turn in range(-(-images // originals.num_rows)):
        part = originals.slice(0, images - turn * originals.num_rows)
        split = pc.binary_join_element_wise(f"{turn:04d}", part["split"], "-")
        part = part.set_column(part.schema.get_field_index("split"), MANIFEST_SCHEMA.field("split"), split)
        names = pc.binary_join_element_wise(split, part["path"], "/")
        turns.append(part.set_column(0, MANIFEST_SCHEMA.field("image_id"), names))
    return check_manifest(pa.concat_tables(turns).combine_chunks())


def timed(work: Callable[[], None], images: int) -> float:
    """Images a second."""
    started = time.perf_counter()
    work()
    return images / (time.perf_counter() - started)


def bare_parser(parser: Parser, decoded: list[RgbImage]) -> None:
    """The limit: nothing but the parser."""
    for start in range(0, len(decoded), BATCH):
        parser.parse(decoded[start : start + BATCH])


def _bare_process(settings: ShardSettings, paths: list[Path], barrier: Any, rates: Any) -> None:
    torch.set_num_threads(1)
    parser = build_parser(settings, "cpu")
    decoded = [decode_image(path.read_bytes()) for path in paths]
    bare_parser(parser, decoded[: 4 * BATCH])
    barrier.wait()
    rates.put(timed(lambda: bare_parser(parser, decoded), len(decoded)))


def two_bare_parsers(settings: ShardSettings, paths: list[Path]) -> float:
    """Images a second of two processes that do nothing but the parser, at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_bare_process, args=(settings, paths[number::2], barrier, rates)) for number in (0, 1)
    ]
    for process in processes:
        process.start()
    total = sum(rates.get() for _ in processes)
    for process in processes:
        process.join()
    return float(total)


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


def stage(manifest: pa.Table, folder: Path, settings: ShardSettings, workers: int) -> dict[str, Any]:
    """The stage itself, into a temporary folder."""
    with tempfile.TemporaryDirectory() as out:
        run = RunSettings(workers=workers, threads=1, device="cpu", work=WorkSettings(batch_size=BATCH))
        timings = run_job("benchmark", manifest, folder, Path(out) / "shards", settings, run, quiet=True).timings
    return {"images_per_second": round(timings.images_per_second, 1), "startup_seconds": timings.startup_seconds}


def install_cheap_parser(folder: Path) -> None:
    """Make the parser ``cheap`` known here and in the processes that are started from here."""
    information = folder / "ccaf_cheap_parser-1.0.dist-info"
    information.mkdir()
    (folder / "ccaf_cheap_parser.py").write_text(CHEAP_PARSER)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ccaf-cheap-parser\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def resident(process: Path) -> float:
    """Megabytes of a process by its folder in /proc; 0 if it has gone."""
    try:
        return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def is_below(process: Path) -> bool:
    """Whether a process was started by this one, or by one that was."""
    number = int(process.name)
    while number > 1 and number != os.getpid():
        number = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    return number == os.getpid()


def workers() -> list[Path]:
    """Folders in /proc of this run's workers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::ShardWorker") and is_below(process):
                found.append(process)
        except OSError:  # it has gone
            continue
    return found


def memory(manifest: pa.Table, folder: Path, settings: ShardSettings) -> dict[str, Any]:
    """The most memory of the driver and of a worker during a run of two workers."""
    peaks = {"driver": 0.0, "worker": 0.0}
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            peaks["driver"] = max(peaks["driver"], resident(Path("/proc/self")))
            peaks["worker"] = max([peaks["worker"], *map(resident, workers())])

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        rate = stage(manifest, folder, settings, workers=2)["images_per_second"]
    finally:
        ended.set()
        sampler.join()
    return {"images_per_second": rate, **{f"{name}_megabytes": round(value) for name, value in peaks.items()}}


def main() -> None:
    """Measure and print one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dataset", default="pku_reid_74")
    arguments.add_argument("--root", default=os.environ.get("CCAF_DATA"))
    arguments.add_argument("--images", type=int, default=2368)
    arguments.add_argument("--memory", default="1000,10000,100000", help="sizes of the runs for (d); empty: none")
    arguments.add_argument("--parser", default="lite")
    arguments.add_argument("--settings", type=json.loads, default={}, help="the parser's settings, as JSON")
    options = arguments.parse_args()

    facts = load_facts(options.dataset)
    folder = dataset_folder(facts, options.root, os.environ)
    manifest = repeat_rows(read_dataset(facts, folder).manifest, options.images)
    settings = ShardSettings(
        parser=options.parser, settings=options.settings, shard_rows=SHARD_ROWS, low_confidence=0.6
    )
    paths = [folder / path for path in manifest["path"].to_pylist()]
    some = paths[:LOOP_IMAGES]
    decoded = [decode_image(path.read_bytes()) for path in paths]
    parser = build_parser(settings, "cpu")
    own_threads = torch.get_num_threads()
    result: dict[str, Any] = {"images": options.images, "parser": options.parser, "cpus": len(os.sched_getaffinity(0))}

    torch.set_num_threads(1)
    bare_parser(parser, decoded[: 4 * BATCH])  # the first batches pay for allocations
    result["a_bare_parser"] = round(timed(lambda: bare_parser(parser, decoded), options.images), 1)
    result["a_bare_parser_2_processes"] = round(two_bare_parsers(settings, paths), 1)
    for name, threads in (("b_plain_loop_1_thread", 1), (f"b_plain_loop_{own_threads}_threads", own_threads)):
        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as out:
            result[name] = round(timed(lambda: plain_loop(parser, some, Path(out)), len(some)), 1)
    for number in (1, 2):
        result[f"c_stage_{number}_workers"] = stage(manifest, folder, settings, number)
    one, two = (result[f"c_stage_{number}_workers"]["images_per_second"] for number in (1, 2))
    result["stage_1_worker_of_limit"] = round(one / result["a_bare_parser"], 3)
    result["stage_2_workers_of_limit"] = round(two / result["a_bare_parser_2_processes"], 3)
    result["stage_2_workers_to_plain_loop"] = round(two / result["b_plain_loop_1_thread"], 3)
    result["stage_1_worker_to_plain_loop"] = round(one / result["b_plain_loop_1_thread"], 3)
    result["2_workers_to_1"] = round(two / one, 3)
    decoded.clear()
    with tempfile.TemporaryDirectory() as plugin:
        install_cheap_parser(Path(plugin))
        cheap = ShardSettings(parser="cheap", low_confidence=0.6)
        for images in filter(None, options.memory.split(",")):
            rows = repeat_rows(manifest, int(images))
            result[f"d_memory_{images}_images"] = memory(rows, folder, cheap)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
