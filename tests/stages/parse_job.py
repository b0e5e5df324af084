"""A small data set for runs of the parse command in processes of their own, and what its shards should be."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from pipeline.datasets.catalog import load_facts, read_dataset
from pipeline.images import encode_image
from pipeline.location import Place, locate
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.plan import plan_shards, rows_of
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import ShardTask, ShardWorker, WorkerSetup, build_parser
from pipeline.storage import list_names

PLUGIN = Path(__file__).parent.parent / "shards" / "plugin"
REPOSITORY = Path(__file__).parent.parent.parent
SLOW = {"seconds": 0.04}
SETTINGS = ShardSettings(parser="tiles", settings=SLOW, shard_rows=3, row_group_rows=2)


@dataclass(frozen=True)
class Dataset:
    """A data set of 30 images, two of which are bad, with its description and parameters."""

    root: Path
    facts: Path
    params: Path
    environment: dict[str, str]

    def arguments(self, out: Place, *more: str) -> list[str]:
        return ["parse", "--params", str(self.params), "--out", str(out), *more]

    def start(self, out: Place, *more: str) -> "subprocess.Popen[str]":
        code = "import sys; from stages.cli import main; sys.argv[0] = 'ccaf-pipeline'; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *self.arguments(out, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,  # any folder will do
            env=self.environment,
            start_new_session=True,
            preexec_fn=_hear_interrupts,
        )


def _hear_interrupts() -> None:
    """A shell's background job ignores interrupts, and all that it starts would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def write_dataset(root: Path) -> Dataset:
    """Write the data set below ``root``."""
    rng = np.random.default_rng(3)
    lines = ["path,split,person_id,camera_id"]
    (root / "little").mkdir()
    for index in range(30):
        path = root / "little" / f"{index:02d}.png"
        path.write_bytes(encode_image(rng.integers(0, 256, (12, 6, 3), dtype=np.uint8)))
        lines.append(f"{path.name},{'train' if index < 20 else 'query'},{index // 4},{index % 2}")
    (root / "little" / "04.png").write_bytes(b"")
    (root / "little" / "29.png").write_bytes(b"no image")
    (root / "little" / "labels.csv").write_text("\n".join(lines) + "\n")
    facts = root / "little.yaml"
    facts.write_text(
        yaml.safe_dump(
            {
                "name": "little", "title": "Little", "reader": "custom", "home": "here", "access": "made by a test",
                "terms": "none", "layout": "a table", "markers": ["labels.csv"], "protocols": ["general"],
                "roles": {"train": ["train"], "query": ["query"]}, "settings": {"table": "labels.csv"},
            }
        )
    )  # fmt: skip
    parse = {"parser": "tiles", "settings": SLOW, "shard_rows": 3, "row_group_rows": 2, "max_bad": 0.1}
    params = root / "params.yaml"
    params.write_text(
        yaml.safe_dump({"data": {"dataset": str(facts), "root": str(root)}, "device": "cpu", "parse": parse})
    )
    environment = {**os.environ, "PYTHONPATH": f"{PLUGIN}{os.pathsep}{REPOSITORY}"}
    environment.pop("RAY_ADDRESS", None)
    return Dataset(root, facts, params, environment)


def make_in_this_process(dataset: Dataset, folder: Path) -> None:
    """What the shards should be: every shard made by one worker, without Ray."""
    listing = read_dataset(load_facts(str(dataset.facts)), dataset.root / "little")
    _, provenance = bind_content("little", listing.manifest, SETTINGS, build_parser(SETTINGS, "cpu"))
    work = WorkSettings(io_threads=1, batch_size=5)
    worker = ShardWorker(WorkerSetup(SETTINGS, provenance, locate(dataset.root / "little"), locate(folder), 1, work))
    for spec in plan_shards(listing.manifest.num_rows, SETTINGS.shard_rows, SETTINGS.row_group_rows):
        worker.make(ShardTask(spec.name, tuple(rows_of(listing.manifest, spec))))


def wait_for_shards(process: "subprocess.Popen[str]", out: Place, count: int) -> None:
    """Wait until so many shards are committed."""
    deadline = time.monotonic() + 120
    while len(list_names(out, "part-*.parquet")) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no shard appeared"
        time.sleep(0.02)
