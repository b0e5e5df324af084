"""A small world of rendered people, and the project's commands on it, on the CPU or on the pretended GPU."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from pretended import Log, pretended_cuda
from safetensors.torch import load_file

from pipeline.ray_session import Resources
from pipeline.shards.making import job
from pipeline.shards.reader import ShardReader
from pipeline.training.captions import ABOUT
from stages.cli import run

TESTS = Path(__file__).parent.parent
for package in (
    "shards",
    "parsing/sam3",
    "parsing/schp",
    "parsing/transformers",
    "parsing/detectron2",
):  # samples of these tests
    sys.path.append(str(TESTS / package))

from shard_jobs import InlinePool  # noqa: E402

PARAMETERS = {
    "threads": 1,
    "data": {"dataset": "walkers"},
    "synth": {
        "height": 64, "train_identities": 4, "test_identities": 3, "outfits": 2, "images_per_outfit": 4, "cameras": 2,
        "pretrain_images": 40,
    },
    "model": {"pretrained": None, "image_size": [64, 32]},
    "parse": {"shard_rows": 64, "parser": "precomputed"},
    "pretrain": {"epochs": 1, "batch_size": 16},
    "prompts": {"epochs": 1, "tokens": 2, "batch_size": 16, "similarity": "cosine"},
    "encoder": {"epochs": 1, "identities_per_batch": 2, "images_per_identity": 2, "learning_rate": 1e-4, "pad": 2},
    "training": {"precision": "fp32"},  # of which the CPU's numbers are expected
    "figures": {"map_images": 1, "ranked_queries": 2, "perplexity": 5},
    "evaluate": {"bootstrap": 20, "precision": "fp32"},
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """Where a test finds rendered people.

    Attributes:
        folder: Holds ``data``.
        parameters: Parameter file; its device is the CPU.
        shards: Shards of all people, made from their true label maps.
        captions: Random features of texts about their images.
    """

    folder: Path
    parameters: Path
    shards: Path
    captions: Path

    def command(self, device: str, command: str, *words: object, settings: Sequence[str] = ()) -> Log | None:
        """Run one of the project's commands on ``cpu`` or ``cuda``; the log of the latter."""
        chosen = [f"data.root={self.folder / 'data'}", f"device={device}", *settings]
        options = [word for setting in chosen for word in ("--set", setting)]
        with pretended_cuda() if device == "cuda" else nullcontext() as log:
            code = run([command, "--params", str(self.parameters), *options, "--quiet", *map(str, words)])
        assert code == 0, f"{command} ended with {code}"
        return log

    def train(
        self, device: str, out: Path, *settings: str, stage: str = "all", prompts: Path | None = None
    ) -> Log | None:
        """Train into ``out/prompts`` and ``out/encoder``."""
        places = ("--shards", self.shards, "--prompts", (prompts or out) / "prompts", "--out", out / "encoder")
        return self.command(device, "train", "--stage", stage, *places, settings=settings)

    def parse(self, device: str, out: Path, *words: object, settings: Sequence[str] = ()) -> Log | None:
        """Parse in this process: the job, its worker, and the parser are the real ones, only Ray is left out."""
        with _workers_in_this_process(gpus=int(device == "cuda")):
            return self.command(device, "parse", "--out", out, *words, settings=settings)


def make_world(folder: Path, clip_config: Path) -> World:
    """Render the people and make their shards."""
    parameters = json.loads(json.dumps(PARAMETERS))
    parameters["model"]["name"] = str(clip_config)
    parameters["parse"]["settings"] = {"root": str(folder / "data" / "walkers" / "labels")}
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
    world = World(folder, folder / "params.yaml", folder / "shards", folder / "captions.parquet")
    world.command("cpu", "synth")
    world.parse("cpu", world.shards)
    write_captions(world.captions, ShardReader(world.shards).ids.image_id.tolist())
    return world


def write_captions(path: Path, image_ids: Sequence[str]) -> None:
    """Random features of a text about the person, and of one about the clothes, for each image."""
    generator = np.random.default_rng(0)
    columns = {about: generator.standard_normal((len(image_ids), 6)).tolist() for about in ABOUT}
    pq.write_table(pa.table({"image_id": image_ids, **columns}), path)


@contextmanager
def _workers_in_this_process(gpus: int) -> Iterator[None]:
    resources = Resources(cpus=2, gpus=gpus, node_cpus=2)

    @contextmanager
    def session(address: str | None, cpus: int | None = None) -> Iterator[Resources]:
        yield resources

    InlinePool.made, InlinePool.interrupt_after = [], None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "WorkerPool", InlinePool)
        patch.setattr(job, "ray_session", session)
        yield


def assert_equal_weights(one: Path, other: Path, tolerance: float = 1e-6) -> None:
    """Compare two checkpoints."""
    first, second = load_file(one / "weights.safetensors"), load_file(other / "weights.safetensors")
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            second[name], value, rtol=0, atol=tolerance, msg=lambda text, at=name: f"{at}: {text}"
        )
