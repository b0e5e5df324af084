"""Times the parse stage beside Ray Data, with the same parser on the same images, and kills a worker of each.

    python benchmarks/ray_data.py --dataset pku_reid_74 --root DATA --images 592

Ray Data runs what its guides show for such work: ``read_parquet(manifest)``, ``map_batches`` with a pool of actors that
hold the parser, ``write_parquet``. Its rows have the columns of a shard and are made by the same functions; an image
that cannot be used is left out. Each run has a process of its own and a local Ray of its own with two workers of one
thread. Processor time is that of all processes of the run, the driver and Ray's own included, looked at every half
second.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from parse import BATCH, SHARD_ROWS, is_below, repeat_rows, resident

from pipeline.datasets.catalog import dataset_folder, load_facts, read_dataset
from pipeline.datasets.manifest import ManifestRow, read_manifest, write_manifest
from pipeline.errors import BadImageError
from pipeline.images import decode_image
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.parser import Parsing
from pipeline.parsing.quality import assess
from pipeline.ray_session import ray_session
from pipeline.shards.making.job import run_job
from pipeline.shards.making.rows import make_row
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import build_parser
from pipeline.shards.schema import SHARD_SCHEMA

WORKERS = 2
STORE_BYTES = 1 << 30  # for Ray Data, whose blocks pass through the object store
SAMPLE_SECONDS = 0.5
TITLES = {"stage": b"ray::ShardWorker", "data": b"ray::MapWorker"}


class BatchParser:
    """The actor that Ray Data gives batches of the manifest."""

    def __init__(self, settings: ShardSettings, folder: Path) -> None:
        import cv2
        import torch

        cv2.setNumThreads(0)
        torch.set_num_threads(1)
        self._settings = settings
        self._folder = folder
        self._parser = build_parser(settings, "cpu")
        self._clothes = self._parser.scheme.clothes_labels(None)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of a shard for rows of the manifest."""
        found = []
        for row in batch.drop_columns(["image_id"]).to_pylist():
            data = (self._folder / row["path"]).read_bytes()
            try:
                found.append((ManifestRow(**row), data, decode_image(data, self._settings.max_pixels)))
            except BadImageError:
                continue
        parsings = self._parser.parse([image for _, _, image in found], [row.path for row, _, _ in found])
        rows = []
        for (row, data, image), parsing in zip(found, parsings, strict=True):
            if isinstance(parsing, Parsing):
                mask = clothes_mask(parsing.label_map, self._clothes)
                quality = assess(
                    parsing, mask, min_person_fraction=self._settings.min_person_fraction,
                    low_confidence=self._settings.low_confidence, garments_only=self._parser.scheme.garments_only,
                )  # fmt: skip
                rows.append(asdict(make_row(row, image, parsing.label_map, mask, quality, "white", data)))
        return pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)


@dataclass
class Watch:
    """Processor time and memory of all processes below this one, and the killing of one of them."""

    title: bytes
    kill_after: int
    seconds: dict[str, float] = field(default_factory=dict)
    megabytes: dict[str, float] = field(default_factory=dict)
    killed: bool = False

    @contextmanager
    def running(self, out: Path) -> Iterator[None]:
        """Watch until the end of the block; kill a worker once there are so many files in ``out``."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                self.sample(out)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            self.sample(out)

    def sample(self, out: Path) -> None:
        """Look once."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if not is_below(process):
                    continue
                title = (process / "cmdline").read_bytes()
                spent = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has gone
                continue
            self.seconds[process.name] = (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")
            kind = "driver" if int(process.name) == os.getpid() else "worker" if title.startswith(self.title) else "ray"
            self.megabytes[kind] = max(self.megabytes.get(kind, 0.0), resident(process))
            written = len(list(out.rglob("*.parquet"))) if self.kill_after and kind == "worker" else 0
            if not self.killed and 0 < self.kill_after <= written:
                os.kill(int(process.name), signal.SIGKILL)
                self.killed = True


def with_ray_data(manifest: Path, folder: Path, out: Path, settings: ShardSettings) -> None:
    """The parse as a pipeline of Ray Data."""
    import ray.data

    table = ray.data.read_parquet(str(manifest)).repartition(target_num_rows_per_block=SHARD_ROWS)
    rows = table.map_batches(
        BatchParser, fn_constructor_args=(settings, folder), batch_size=BATCH, batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=WORKERS), num_cpus=1,
    )  # fmt: skip
    rows.write_parquet(str(out))


def with_stage(manifest: Path, folder: Path, out: Path, settings: ShardSettings) -> None:
    """The parse stage."""
    run = RunSettings(workers=WORKERS, device="cpu", work=WorkSettings(batch_size=BATCH))
    run_job("benchmark", read_manifest(manifest), folder, out, settings, run, quiet=True)


@contextmanager
def ray_data_session() -> Iterator[None]:
    """A local Ray as large as Ray Data wants it, without its lines and bars."""
    import ray
    import ray.data

    ray.init(
        address="local", num_cpus=WORKERS + 1, object_store_memory=STORE_BYTES, include_dashboard=False,
        log_to_driver=False,
    )  # fmt: skip
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def measure(options: argparse.Namespace, images: int) -> dict[str, Any]:
    """One run of one of the two, in this process."""
    out, manifest = Path(options.work) / "out", Path(options.work) / "manifest.parquet"
    folder = dataset_folder(load_facts(options.dataset), options.root, os.environ)
    settings = ShardSettings(parser=options.parser, shard_rows=SHARD_ROWS, low_confidence=0.6)
    watch = Watch(TITLES[options.mode], kill_after=1 if options.kill else 0)
    started = time.perf_counter()
    with watch.running(out):
        if options.mode == "data":
            with ray_data_session():
                with_ray_data(manifest, folder, out, settings)
        else:
            with ray_session(None, WORKERS):
                with_stage(manifest, folder, out, settings)
    seconds = time.perf_counter() - started
    written = sorted(path for path in out.rglob("*.parquet") if path.name != "quarantine.parquet")
    ids = [
        image_id for path in written for image_id in pq.read_table(path, columns=["image_id"])["image_id"].to_pylist()
    ]
    hashes = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in written)
    return {
        "mode": options.mode,
        "worker_killed": watch.killed,
        "images_per_second_with_start": round(images / seconds, 2),
        "processor_ms_per_image": round(1000 * sum(watch.seconds.values()) / images, 1),
        "megabytes": {kind: round(value) for kind, value in sorted(watch.megabytes.items())},
        "files": len(written),
        "images": len(ids),
        "missing": images - len(set(ids)),
        "twice": len(ids) - len(set(ids)),
        "in_order": bool(np.all(np.array(ids[:-1]) <= np.array(ids[1:]))),
        "sha256_of_files": hashlib.sha256("".join(hashes).encode()).hexdigest()[:12],
    }


def main() -> None:
    """Measure and print one JSON object a run."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dataset", default="pku_reid_74")
    arguments.add_argument("--root", default=os.environ.get("CCAF_DATA"))
    arguments.add_argument("--images", type=int, default=592)
    arguments.add_argument("--parser", default="lite")
    arguments.add_argument("--mode", choices=sorted(TITLES), help="only this one, in this process")
    arguments.add_argument("--kill", action="store_true", help="kill a worker when the first file is there")
    arguments.add_argument("--work", help="folder of one run")
    options = arguments.parse_args()
    if options.mode is not None:
        print(json.dumps(measure(options, options.images)), flush=True)
        return
    facts = load_facts(options.dataset)
    table = repeat_rows(read_dataset(facts, dataset_folder(facts, options.root, os.environ)).manifest, options.images)
    for words in (["stage"], ["data"], ["stage", "--kill"], ["data", "--kill"], ["stage"], ["data"]):
        with tempfile.TemporaryDirectory() as work:
            write_manifest(table, Path(work) / "manifest.parquet")
            same = ["--dataset", options.dataset, "--root", options.root, "--images", options.images]
            command = [sys.executable, __file__, *map(str, same), "--parser", options.parser, "--work", work]
            subprocess.run([*command, "--mode", *words], check=True)


if __name__ == "__main__":
    main()
