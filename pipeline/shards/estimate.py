"""What a run would take, told before it starts."""

import os
from dataclasses import dataclass

from pipeline.shards.job import RunSettings
from pipeline.shards.plan import ParseSettings, plan_shards

BASE_MEGABYTES = 850
"""A worker process with torch, torchvision, OpenCV, Arrow, Ray and the embedded parser loaded (measured: 855)."""

PIXEL_BYTES = 12
"""Bytes for each pixel under way: the image, its masks, its shielding image, and room for their encoders."""

TYPICAL_PIXELS = 256 * 128


@dataclass(frozen=True)
class RunEstimate:
    """Size of a run.

    Attributes:
        images: Images to parse.
        shards: Number of shards.
        smallest: Images of the smallest shard.
        largest: Images of the largest shard.
        workers: As asked for; if no number is given, as many as the CPUs of this machine allow.
        megabytes_per_worker: Memory of a worker with the embedded parser, for images of about 256 x 128 pixels.
    """

    images: int
    shards: int
    smallest: int
    largest: int
    workers: int
    megabytes_per_worker: int


def estimate_run(images: int, settings: ParseSettings, run: RunSettings) -> RunEstimate:
    """Estimate a run of ``images`` images, without starting anything."""
    specs = plan_shards(images, settings.shard_rows, settings.row_group_rows)
    room = run.workers or max(1, len(os.sched_getaffinity(0)) // run.threads)
    under_way = 5 * run.batch_size + settings.row_group_rows
    return RunEstimate(
        images=images,
        shards=len(specs),
        smallest=min(spec.rows for spec in specs),
        largest=max(spec.rows for spec in specs),
        workers=min(room, len(specs)),
        megabytes_per_worker=BASE_MEGABYTES + under_way * TYPICAL_PIXELS * PIXEL_BYTES // 1_000_000,
    )
