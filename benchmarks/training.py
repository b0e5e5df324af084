"""Times training beside its bare networks on the same batches, in one run, with random weights.

    python benchmarks/training.py                      # ViT-B/16 at 256x128, batch 64, and the small model
    python benchmarks/training.py --model small --part step --precision bf16

Parts, each in a process of its own, whose peak memory is told:

- ``step``: milliseconds of a stage-2 step of the real training (method ``ccaf``: data from shards, both encoders, all
  losses, Adam, curves) and of the bare forward and backward of its two encoders on the same batches; the two take
  turns, some steps each, so that both meet the same machine. Time by phase, the share of waiting for data.
- ``memory``: the same step with its ways to save memory, and with 5,000 identities and 40,000 clothes classes.
- ``prompts``: an epoch of stage 1 with cached features beside one that computes the features of all images again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.datasets.manifest import ManifestRow
from pipeline.features.extraction import encode_images
from pipeline.labels import LIP
from pipeline.models.clip import Clip, load_clip
from pipeline.models.prompts import CLOTHES_TEMPLATE, IDENTITY_TEMPLATE, PromptLearner
from pipeline.models.recompute import recompute_activations
from pipeline.models.settings import ModelSettings
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.precision import Precision
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.making.writer import ShardRow
from pipeline.shards.reader import ShardReader
from pipeline.shards.store import open_store
from pipeline.trainer.distributed import tensor_fields
from pipeline.trainer.engine import Engine, TrainingRun
from pipeline.trainer.record import peak_memory
from pipeline.trainer.timing import PHASES
from pipeline.training.batches import EncoderBatch, EncoderData
from pipeline.training.encoder_task import EncoderTask, train_encoder
from pipeline.training.methods import term_weights
from pipeline.training.prompt_task import PromptData, PromptTask, train_prompts
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import AllEncoderSettings, PromptSettings

MEAN = STD = (0.5, 0.5, 0.5)
OUTFITS = 2


MODELS = {
    "vit-b-16": ModelSettings(pretrained=None),
    "small": ModelSettings(name="walker-clip", pretrained=None, stem="conv", image_size=(128, 64)),
}


def _shard_row(index: int, images: int, size: tuple[int, int]) -> ShardRow:
    rng = np.random.default_rng(index)
    coarse = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    labels = np.zeros(size, dtype=np.uint8)
    labels[size[0] // 4 : 3 * size[0] // 4, size[1] // 4 : 3 * size[1] // 4] = 5
    mask = clothes_mask(labels, LIP.clothes)
    person, take = divmod(index, images)
    row = ManifestRow(f"{person:04d}-{take:02d}.jpg", "train", person, take % 3, OUTFITS * person + take % OUTFITS)
    return make_row(row, image, labels, mask, Quality(0.25, float(mask.mean()), 0.9, ()))


@dataclass(frozen=True)
class Setting:
    """Everything that one process measures with."""

    part: str
    model: str
    precision: str
    identities: int
    images: int
    steps: int
    rounds: int
    classes: int
    clothes_classes: int
    accumulation: int
    recompute: bool
    threads: int


def _load(setting: Setting) -> Clip:
    return load_clip(MODELS[setting.model])


def _data(setting: Setting, folder: Path) -> EncoderData:
    """Batches from real shards; the number of images makes ``steps`` steps an epoch."""
    persons, images = setting.identities, setting.images * setting.steps
    size = MODELS[setting.model].image_size
    (folder / "shards").mkdir()
    write_rows(folder / "shards", "random", [_shard_row(index, images, size) for index in range(persons * images)])
    reader = ShardReader(folder / "shards")
    rows = np.arange(persons * images)
    labels = reader.ids.person_id[rows]
    return EncoderData(
        store=open_store(reader, rows, size, folder=folder / "pixels"),
        rows=rows,
        identities=labels,
        clothes_classes=reader.ids.clothes_id[rows],
        sampler=IdentitySampler(labels, setting.identities, setting.images, seed=0),
        mean=MEAN,
        std=STD,
    )


def _task(setting: Setting, clip: Clip) -> EncoderTask:
    generator = torch.Generator().manual_seed(0)
    dimension = clip.image_encoder.projected_dim
    per_person = -(-setting.clothes_classes // setting.classes)
    numbers = torch.arange(setting.classes * per_person).reshape(setting.classes, per_person)
    task = EncoderTask(
        clip.image_encoder,
        term_weights("ccaf", AllEncoderSettings()),
        identities=setting.classes,
        seed=0,
        settings=AllEncoderSettings(),
        identity_texts=torch.randn(setting.classes, dimension, generator=generator),
        clothes_texts=torch.randn(setting.clothes_classes, dimension, generator=generator),
        identity_clothes=numbers.clamp(max=setting.clothes_classes - 1),
    )
    if setting.recompute:
        for encoder in (task.image_encoder, task.shielding_encoder):
            if encoder is not None:
                recompute_activations(encoder)
    return task


def _bare_step(task: EncoderTask, batch: EncoderBatch, precision: Precision) -> float:
    """Milliseconds of forward and backward of both encoders, with a gradient for each of their outputs."""
    task.zero_grad(set_to_none=True)
    started = time.perf_counter()
    with precision.autocast():
        features = task.encode(batch)
    tensors = [tensor for tensor in tensor_fields(features).values() if tensor.requires_grad]
    torch.autograd.backward(tensors, [torch.full_like(tensor, 1e-3) for tensor in tensors])
    return 1000 * (time.perf_counter() - started)


def measure_step(setting: Setting, folder: Path) -> dict[str, Any]:
    """The part ``step``; with ``rounds`` 0 the bare networks are left out, and the peak is the training's alone."""
    data, task = _data(setting, folder), _task(setting, _load(setting))
    precision = Precision("bf16" if setting.precision == "bf16" else "fp32")
    bare: list[float] = []

    def take_turns(_: TrainingRun) -> None:
        if setting.rounds:
            batches = list(data.epoch(0).batches)
            bare.extend(_bare_step(task, batch, precision) for batch in batches)

    # the first epoch warms up caches, allocator and optimizer
    engine = Engine(precision=precision, parts=setting.accumulation, seed=0, epoch_done=take_turns, quiet=True)
    epochs = 1 + max(setting.rounds, 1)
    run = train_encoder(task, data, AllEncoderSettings(epochs=epochs, learning_rate=1e-6), engine)
    rows = run.timings[1:]
    steps = sum(row["steps"] for row in rows)
    phases = {name: 1000 * sum(row.get(name, 0.0) for row in rows) / steps for name in PHASES}
    ours = sum(phases.values())
    found: dict[str, Any] = {
        "step_ms": round(ours, 1),
        "phases_ms": {name: round(value, 2) for name, value in phases.items()},
        "data_wait": round(phases["data"] / ours, 4),
        "peak_gigabytes": round(peak_memory("cpu")["resident"] / 1e9, 2),
        "loss": round(run.curves[-1]["total"], 4),
    }
    if setting.rounds:
        theirs = sum(bare[setting.steps :]) / len(bare[setting.steps :])
        found |= {"bare_ms": round(theirs, 1), "ratio": round(ours / theirs, 3)}
    return found


def _learner(clip: Clip, template: str, classes: int) -> PromptLearner:
    return PromptLearner(
        template,
        classes,
        4,
        tokenizer=clip.tokenizer,
        encoder=clip.text_encoder,
        context_length=clip.text_encoder.context_length,
        generator=torch.Generator().manual_seed(0),
    )


def measure_prompts(setting: Setting, folder: Path) -> dict[str, Any]:
    """The part ``prompts``: seconds of an epoch with cached features, and of computing the features once more."""
    data, clip = _data(setting, folder), _load(setting).freeze()
    started = time.perf_counter()
    shielding, clothes = (
        encode_images(
            clip.image_encoder, load, data.rows.tolist(), lambda f: f.projected, mean=MEAN, std=STD, quiet=True
        )
        for load in (data.store.shielding, data.store.clothes)
    )
    features = time.perf_counter() - started
    persons = len(np.unique(data.identities))
    task = PromptTask(
        _learner(clip, IDENTITY_TEMPLATE, persons),
        _learner(clip, CLOTHES_TEMPLATE, OUTFITS * persons),
        clip.text_encoder,
    )
    cached = PromptData(shielding, clothes, data.identities, data.clothes_classes)
    settings = PromptSettings(epochs=1 + max(setting.rounds, 1), warmup_epochs=0)
    run = train_prompts(task, cached, settings, 0, Engine(quiet=True))
    epoch = sum(row["seconds"] for row in run.curves[1:]) / len(run.curves[1:])
    return {
        "images": len(data.rows),
        "epoch_cached_seconds": round(epoch, 3),
        "epoch_recomputed_seconds": round(epoch + features, 3),
        "times_faster": round((epoch + features) / epoch, 2),
        "peak_gigabytes": round(peak_memory("cpu")["resident"] / 1e9, 2),
    }


def _settings(options: argparse.Namespace) -> Iterator[tuple[str, Setting]]:
    """What is measured, each with a name."""
    models = [options.model] if options.model else list(MODELS)
    for model in models:
        base = {
            "model": model,
            "precision": "fp32",
            "identities": options.identities,
            "images": options.images,
            "steps": options.steps,
            "rounds": options.rounds,
            "classes": max(150, options.identities),
            "clothes_classes": 2 * max(150, options.identities),
            "accumulation": 1,
            "recompute": False,
            "threads": options.threads,
        }
        if options.part in ("step", "all"):
            for precision in [options.precision] if options.precision else ["fp32", "bf16"]:
                yield f"{model} step {precision}", Setting(**{**base, "part": "step", "precision": precision})
        if options.part in ("memory", "all"):
            alone = {**base, "part": "step", "rounds": 0}
            yield f"{model} memory plain", Setting(**alone)
            if MODELS[model].stem == "patch":
                yield f"{model} memory in 4 parts", Setting(**{**alone, "accumulation": 4})
            yield f"{model} memory recomputed", Setting(**{**alone, "recompute": True})
            many = {"classes": 5000, "clothes_classes": 40_000}
            yield f"{model} memory 5,000 identities", Setting(**{**alone, **many})
        if options.part in ("prompts", "all"):
            yield f"{model} prompts", Setting(**{**base, "part": "prompts"})


def _measure_apart(setting: Setting) -> dict[str, Any]:
    """One setting in a process of its own: its peak memory is no other's."""
    words = [sys.executable, __file__, "--setting", json.dumps(vars(setting))]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print, as a table and optionally as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, help="default: both")
    parser.add_argument("--part", choices=["step", "memory", "prompts", "all"], default="all")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: both")
    parser.add_argument("--identities", type=int, default=16, help="P of a batch")
    parser.add_argument("--images", type=int, default=4, help="K of a batch")
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: as torch decides")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.setting:
        setting = Setting(**json.loads(options.setting))
        if setting.threads:
            torch.set_num_threads(setting.threads)
        measure = measure_prompts if setting.part == "prompts" else measure_step
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(setting, Path(folder))))
        return
    results = {}
    for name, setting in _settings(options):
        results[name] = _measure_apart(setting)
        print(f"{name}: {json.dumps(results[name])}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
