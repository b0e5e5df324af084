"""What ``benchmarks/gpu.py`` measures of several ranks: a step of stage 2 by 1, 2, 4 and 8 GPUs, one process each."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from gpu_parts import SETTINGS, Row, Size, is_cuda, load, make_batch, make_task, train_milliseconds

from pipeline.files import read_json, write_json
from pipeline.precision import Precision
from pipeline.trainer.distributed import ALONE, Ranks, current_ranks, tensor_fields
from pipeline.trainer.engine import Engine
from pipeline.trainer.gradients import weighted_sum
from pipeline.training.batches import EncoderBatch
from pipeline.training.encoder_task import EncoderTask, make_optimizer

METHOD = "ccaf"
WORLDS = (1, 2, 4, 8)
ON_A_CPU = 2
"""Ranks on a device that is no GPU, to show that the program works."""


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
    there = torch.cuda.device_count() if is_cuda(device) else ON_A_CPU
    worlds = sorted({world for world in (*WORLDS, there) if world <= there and not size.pairs % (4 * world)})
    for world in reversed(worlds):
        with tempfile.TemporaryDirectory() as folder:
            processes.spawn(_rank, (world, device, size, folder), nprocs=world)  # type: ignore[no-untyped-call]
            found: list[Row] = read_json(Path(folder) / "rows.json", "rows of the first rank")
        yield from found
