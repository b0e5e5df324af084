"""What ``benchmarks/gpu.py`` measures of several ranks: a step of stage 2 by 1, 2, 4 and 8 GPUs, one process each.

    python benchmarks/gpu_ranks.py

prints what such a step would take by arithmetic (:func:`computed`), the table of ``docs/gpus.md``; nothing is measured.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from gpu_parts import SETTINGS, Row, Size, is_cuda, load, make_batch, make_task, train_milliseconds
from torch.multiprocessing.spawn import spawn

from pipeline.files import read_json, write_json
from pipeline.precision import Precision
from pipeline.trainer.distributed import ALONE, BUCKET_NUMBERS, Ranks, current_ranks, tensor_fields
from pipeline.trainer.engine import Engine
from pipeline.trainer.gradients import weighted_sum
from pipeline.training.batches import EncoderBatch
from pipeline.training.encoder_task import EncoderTask, make_optimizer

METHOD = "ccaf"
WORLDS = (1, 2, 4, 8)
ON_A_CPU = 2
"""Ranks on a device that is no GPU, to show that the program works."""

STEP_FLOPS = 8.7e12
"""Of 64 pairs and two encoders, ViT-B/16 at 256x128: forward and backward."""
BACKWARD_SHARE = 2 / 3
GRADIENT_BYTES = 4 * 172e6
MESSAGE_BYTES = 4 * BUCKET_NUMBERS
REACHED_FLOPS = 0.5 * 990e12
"""A second, by an H100 in bf16 at half of its peak."""
MEMORY_RATE = 3.35e12
"""Bytes a second of an H100's memory."""
ADAM_PASSES, MESSAGE_PASSES = 7, 6
"""How often as many bytes as the gradients have go through memory: weights, gradients and two moments are read and all
but the gradients written; gradients are put into messages, divided, and copied back."""
LINKS = {"NVLink": 0.8 * 450e9, "PCIe": 0.8 * 64e9}
"""Bytes a second that a GPU sends while it receives as many: four fifths of NVLink 4's and of PCIe 5.0 x16's peak."""


def share(batch: EncoderBatch, ranks: Ranks, device: str) -> EncoderBatch:
    """A rank's part of a batch, on its device; what is known of the labels is known of all."""
    parts = {name: tensor.chunk(ranks.world)[ranks.rank].to(device) for name, tensor in tensor_fields(batch).items()}
    known = batch.known
    if known is not None:
        known = replace(known, **{name: tensor.to(device) for name, tensor in tensor_fields(known).items()})
    return replace(batch, **parts, known=known)


def gradient_bytes(task: EncoderTask) -> int:
    """What a rank sends and receives the sum of in a step."""
    return sum(parameter.numel() * parameter.element_size() for parameter in task.parameters())


def rank_step(device: str, size: Size, ranks: Ranks = ALONE) -> Row:
    """A step of this rank; ``size.pairs`` are those of all ranks together."""
    task = make_task(load(size), METHOD, device, size)
    milliseconds = train_milliseconds(
        task,
        share(make_batch("cpu", size), ranks, device),
        make_optimizer(task, SETTINGS),
        lambda epoch, number, losses: weighted_sum(losses, task.loss_weights_at(epoch, number)),
        Engine(precision=Precision("bf16", device), device=device, ranks=ranks),
        size.steps,
    )
    return {
        "workers": ranks.world,
        "pairs": size.pairs,
        "pairs_per_worker": size.pairs // ranks.world,
        "step_ms": milliseconds,
        "pairs_per_second": 1000 * size.pairs / milliseconds,
        "gradient_megabytes": gradient_bytes(task) / 1e6,
    }


def computed(world: int, grows: bool, link: float) -> tuple[float, float]:
    """Seconds of a step by arithmetic, and how many times the images of one GPU pass in a second.

    Products take their time at half of the peak, however few images a GPU has. Messages go around a ring, beside the
    backward pass but for the last one, which its end makes complete. Losses, waiting for data and the start of kernels
    are left out, so that no step will be faster than this.

    Args:
        world: GPUs.
        grows: Each has 64 pairs; else all share them.
        link: Bytes a second, see :data:`LINKS`.
    """

    def seconds(gpus: int) -> float:
        products = STEP_FLOPS / REACHED_FLOPS / (1 if grows else gpus)
        adam = ADAM_PASSES * GRADIENT_BYTES / MEMORY_RATE
        if gpus == 1:
            return products + adam
        around = 2 * (gpus - 1) / gpus / link
        waiting = max(around * GRADIENT_BYTES - BACKWARD_SHARE * products, around * MESSAGE_BYTES)
        return products + adam + MESSAGE_PASSES * GRADIENT_BYTES / MEMORY_RATE + waiting

    return seconds(world), (world if grows else 1) * seconds(1) / seconds(world)


def computed_table() -> str:
    """The table of ``docs/gpus.md``."""
    lines = ["| GPUs | batch | NVLink: step | images/s | PCIe: step | images/s |", "|---|---|---|---|---|---|"]
    for world in WORLDS:
        for grows in (False, True)[: 1 if world == 1 else 2]:
            cells = [computed(world, grows, link) for link in LINKS.values()]
            shown = " | ".join(f"{1000 * time:.1f} ms | {times:.1f} x" for time, times in cells)
            pairs = f"{64 * world if grows else 64} pairs, {64 if grows else 64 // world} a GPU"
            lines.append(f"| {world} | {pairs} | {shown} |")
    return "\n".join(lines)


def _rank(rank: int, world: int, device: str, size: Size, folder: str) -> None:
    torch.set_num_threads(1)
    own = f"cuda:{rank}" if is_cuda(device) else device
    if is_cuda(device):
        torch.cuda.set_device(own)
    dist.init_process_group(
        "nccl" if is_cuda(device) else "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world
    )
    rows: list[Row] = []
    for batch, pairs in (("shared", size.pairs), ("per worker", size.pairs * world)):
        if world > 1 or batch == "shared":
            row: dict[str, Any] = rank_step(own, replace(size, pairs=pairs), current_ranks())
            rows.append({"batch": batch, **row})
    if rank == 0:
        write_json(Path(folder) / "rows.json", rows)
    dist.destroy_process_group()


def ranks(device: str, size: Size) -> Iterator[Row]:
    """Rows by number of workers, each with a batch that they share and one that grows with them: most workers first."""
    there = torch.cuda.device_count()
    worlds = [world for world in WORLDS if world <= there and not size.pairs % (4 * world)]
    if not is_cuda(device):
        worlds = [ON_A_CPU]
    for world in reversed(worlds):
        with tempfile.TemporaryDirectory() as folder:
            spawn(_rank, (world, device, size, folder), nprocs=world)  # type: ignore[no-untyped-call]
            found: list[Row] = read_json(Path(folder) / "rows.json", "rows of the first rank")
        yield from found


if __name__ == "__main__":
    print(computed_table())
