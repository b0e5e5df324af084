"""What ``benchmarks/gpu.py`` measures of parsing: SCHP with random weights on rendered people, by 1 to 8 workers."""

import json
import os
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
WORKERS = (1, 2, 4, 8)
BATCH = 16
PEOPLE, OUTFITS, TAKES = 48, 2, 4
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


def _command(words: Sequence[str], seconds: float) -> dict[str, Any]:
    """The result of ``ccaf-pipeline``, or ``problem`` with the last line of what it said."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stages", *words, "--quiet", "--json"],
            cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"problem": f"stopped after {seconds:.0f} s"}
    if done.returncode:
        return {"problem": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def parse(device: str, quick: bool) -> Iterator[Row]:
    """Rows of the network alone, then of the stage; ``quick`` parses a few images with the parser ``lite``."""
    if not quick:
        flops = schp_flops(VARIANTS["lip"].size)
        for precision in PRECISIONS:
            allow_tf32(False)
            yield {**_bare(device, precision, VARIANTS["lip"].size, 8), "image_flops": flops}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        people = 2 if quick else PEOPLE
        sizes = {
            "height": 64 if quick else 256, "train_identities": people, "test_identities": 2, "outfits": OUTFITS,
            "images_per_outfit": TAKES, "cameras": 2, "pretrain_images": 16,
        }  # fmt: skip
        words = [word for key, value in sizes.items() for word in ("--set", f"synth.{key}={value}")]
        made = _command(["synth", "--out", str(folder), *words], SYNTH_SECONDS)
        if "problem" in made:
            yield {"what": "rendering", **made}
            return
        if quick:
            yield _stage(folder, device, "lite", [], 1, "fp32", "made")
            return
        weights = save_random_schp(folder)
        for precision in reversed(PRECISIONS):
            settings = [f"parse.settings.weights={weights}", f"parse.settings.precision={precision}"]
            for workers in WORKERS if precision == "bf16" else (1,):
                if workers <= (os.cpu_count() or 1):
                    for shielded in ("stored", "made") if workers == WORKERS[2] else ("stored",):
                        yield _stage(folder, device, "schp", settings, workers, precision, shielded)


def _stage(
    root: Path, device: str, parser: str, settings: Sequence[str], workers: int, precision: str, shielded: str
) -> Row:
    """The stage itself; several workers share the one GPU."""
    more = [*settings, f"device={device}", f"data.root={root}", "threads=1", "parse.shard_rows=32"]
    more.append(f"parse.shielded_images={shielded}")
    if is_cuda(device):
        more.append(f"parse.gpus_per_worker={1 / workers}")
    with tempfile.TemporaryDirectory() as out:
        words = ["parse", "--dataset", "walkers", "--out", f"{out}/shards", "--workers", str(workers)]
        words += ["--parser", parser, *(word for setting in more for word in ("--set", setting))]
        found = _command(words, PARSE_SECONDS)
    row: Row = {"what": "stage", "parser": parser, "workers": workers, "precision": precision, "shielded": shielded}
    if "problem" in found:
        return {**row, **found}
    timings = found["timings"]
    return {
        **row,
        "images": timings["images"],
        "images_per_second": timings["images_per_second"],
        "startup_seconds": timings["startup_seconds"],
    }
