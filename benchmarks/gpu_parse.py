"""What ``benchmarks/gpu.py`` measures of parsing: ``lite`` and SCHP with random weights on rendered people, by as many
workers as the stage chooses, and by 1 to 4."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_parts import Row, allow_tf32, is_cuda, milliseconds
from torch.utils.flop_counter import FlopCounterMode

from pipeline.parsing.schp.network import SchpNetwork
from pipeline.parsing.schp.variants import VARIANTS
from pipeline.precision import PrecisionName, autocast

REPOSITORY = Path(__file__).resolve().parent.parent
CHOSEN = 0
WORKERS = (CHOSEN, 1, 2, 4)
BATCH = 16
PEOPLE, OUTFITS, TAKES = 48, 2, 4
COPIES = 8
"""Of each rendered image, so that a run is much longer than its first and its last batch."""
SYNTH_SECONDS, PARSE_SECONDS = 120, 120
PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "bf16")


def save_random_schp(folder: Path) -> Path:
    """A weights file of SCHP for LIP in the published layout, with random values."""
    variant = VARIANTS["lip"]
    torch.manual_seed(0)
    tensors = SchpNetwork(len(variant.scheme.labels)).state_dict()
    path = folder / variant.file_name
    torch.save({"state_dict": {f"module.{name.removeprefix('backbone.')}": t for name, t in tensors.items()}}, path)
    return path


def schp_flops(size: int) -> int:
    """Floating-point operations of one image's forward pass: two for each multiplication and addition."""
    with torch.device("meta"):
        network = SchpNetwork(len(VARIANTS["lip"].scheme.labels))
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.empty(1, 3, size, size))
    return int(counter.get_total_flops())


def _bare(device: str, precision: PrecisionName, size: int, times: int) -> Row:
    """The network alone, on images that are on the device."""
    at_once = BATCH if is_cuda(device) else 1
    network = SchpNetwork(len(VARIANTS["lip"].scheme.labels)).eval().to(memory_format=torch.channels_last).to(device)
    images = torch.randn(at_once, 3, size, size).to(device)
    numbers = autocast(precision, torch.device(device))

    def forward() -> None:
        with torch.inference_mode(), numbers:
            network(images)

    ms = milliseconds(forward, device, times, 1)
    return {"what": "network", "precision": precision, "images_per_second": 1000 * at_once / ms}


def _one_gpu(device: str) -> dict[str, str]:
    """The environment in which one GPU alone can be seen, as all figures are those of one."""
    if not is_cuda(device):
        return dict(os.environ)
    number = torch.device(device).index or 0
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {**os.environ, "CUDA_VISIBLE_DEVICES": seen.split(",")[number] if seen else str(number)}


def _command(words: Sequence[str], seconds: float, device: str) -> dict[str, Any]:
    """The result of ``ccaf-pipeline``, or ``problem`` with the last line of what it said."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stages", *words, "--quiet", "--json"],
            cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=seconds, env=_one_gpu(device),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"problem": f"stopped after {seconds:.0f} s"}
    if done.returncode:
        return {"problem": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def copy_images(folder: Path, copies: int) -> None:
    """More takes of each image, which are the same again."""
    for image in sorted(folder.rglob("*.jpg")):
        person, take = image.stem.rsplit("_", 1)
        for number in range(1, copies):
            shutil.copyfile(image, image.with_name(f"{person}_{int(take) + 100 * number}.jpg"))


def parse(device: str, quick: bool) -> Iterator[Row]:
    """Rows of SCHP's network alone, then of the stage; ``quick`` parses a few images with the parser ``lite``."""
    bare: dict[str, float] = {}
    if not quick:
        flops = schp_flops(VARIANTS["lip"].size)
        for precision in PRECISIONS:
            allow_tf32(False)
            row = _bare(device, precision, VARIANTS["lip"].size, 8)
            bare[precision] = row["images_per_second"]
            yield {**row, "image_flops": flops}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        people = 2 if quick else PEOPLE
        sizes = {
            "height": 64 if quick else 256, "train_identities": people, "test_identities": 2, "outfits": OUTFITS,
            "images_per_outfit": TAKES, "cameras": 2, "pretrain_images": 16,
        }  # fmt: skip
        words = [word for key, value in sizes.items() for word in ("--set", f"synth.{key}={value}")]
        made = _command(["synth", "--out", str(folder), *words], SYNTH_SECONDS, device)
        if "problem" in made:
            yield {"what": "rendering", **made}
            return
        if quick:
            for workers in (CHOSEN, 1):
                yield _stage(folder, device, "lite", [], workers, "fp32", "made")
            return
        copy_images(folder, COPIES)
        weights = save_random_schp(folder)
        schp = {name: [f"parse.settings.weights={weights}", f"parse.settings.precision={name}"] for name in PRECISIONS}
        for workers in WORKERS:
            yield _beside(bare["bf16"], _stage(folder, device, "schp", schp["bf16"], workers, "bf16", "stored"))
        for workers in (CHOSEN, 1):
            yield _stage(folder, device, "lite", [], workers, "fp32", "stored")
        yield _beside(bare["bf16"], _stage(folder, device, "schp", schp["bf16"], CHOSEN, "bf16", "made"))
        yield _beside(bare["fp32"], _stage(folder, device, "schp", schp["fp32"], CHOSEN, "fp32", "stored"))


def _beside(bare: float, row: Row) -> Row:
    """A row of the stage with what it does of the network's rate; as it is if it was not measured."""
    return {**row, "of_bare": row["images_per_second"] / bare} if "images_per_second" in row else row


def _stage(
    root: Path, device: str, parser: str, settings: Sequence[str], workers: int, precision: str, shielded: str
) -> Row:
    """The stage itself; several workers share the one GPU."""
    more = [
        *settings,
        f"device={'cuda' if is_cuda(device) else device}",
        f"data.root={root}",
        "threads=1",
        f"parse.shielded_images={shielded}",
    ]
    with tempfile.TemporaryDirectory() as out:
        words = ["parse", "--dataset", "walkers", "--out", f"{out}/shards", "--workers", str(workers)]
        words += ["--parser", parser, *(word for setting in more for word in ("--set", setting))]
        words += ["--set", "parse.shard_rows=128"]
        found = _command(words, PARSE_SECONDS, device)
    row: Row = {"what": "stage" if workers else "stage, its choice", "parser": parser, "precision": precision}
    row["shielded"] = shielded
    if "problem" in found:
        return {**row, "workers": workers or None, **found}
    timings = found["timings"]
    return {
        **row,
        "workers": timings["workers"],
        "images": timings["images"],
        "images_per_second": timings["images_per_second"],
        "startup_seconds": timings["startup_seconds"],
    }
