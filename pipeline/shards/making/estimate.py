"""What a run would take, told before it starts."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.shards.making.maker import AHEAD_PIXELS
from pipeline.shards.making.placement import Placement
from pipeline.shards.making.plan import plan_shards
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import ShardSettings

BASE_MEGABYTES = 850
"""A worker with torch, torchvision, OpenCV, Arrow, Ray and the embedded parser loaded; an estimate on the safe side."""

PIXEL_BYTES = 12
"""Bytes for each pixel under way: the image, its masks, its shielding image, and room for their encoders.

A pixel that is not parsed yet has three bytes; this makes up for windows that are parsed, one, or two on a GPU."""

TYPICAL_PIXELS = 256 * 128


@dataclass(frozen=True)
class RunEstimate:
    """Size of a run.

    Attributes:
        images: Images to parse.
        shards: Number of shards.
        smallest: Images of the smallest shard.
        largest: Images of the largest shard.
        workers: That a run would start; None if that is the cluster's to say.
        megabytes_per_worker: Memory of a worker, that of a GPU not counted, for images of about 256 x 128 pixels.
    """

    images: int
    shards: int
    smallest: int
    largest: int
    workers: int | None
    megabytes_per_worker: int


def resident_megabytes() -> int:
    """Memory of this process, with whatever was loaded into it; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def estimate_run(images: int, settings: ShardSettings, run: RunSettings, placement: Placement | None) -> RunEstimate:
    """Estimate a run of ``images`` images, without starting anything.

    The workers are those of ``placement``; where it is None, a cluster decides on them unless their number is given.
    Where the parser was built in this process before, a worker's memory is this process's, if that is more than with
    the embedded parser.
    """
    specs = plan_shards(images, settings.shard_rows, settings.row_group_rows)
    workers = placement.workers if placement is not None else min(run.workers, len(specs)) or None
    # two shards at once: read ahead, one window decoded and one encoded each, and the row group that is being filled
    under_way = 2 * (4 * run.work.window + settings.row_group_rows) * TYPICAL_PIXELS
    under_way = min(under_way, 4 * AHEAD_PIXELS)
    return RunEstimate(
        images=images,
        shards=len(specs),
        smallest=min(spec.rows for spec in specs),
        largest=max(spec.rows for spec in specs),
        workers=workers,
        megabytes_per_worker=max(BASE_MEGABYTES, resident_megabytes()) + under_way * PIXEL_BYTES // 1_000_000,
    )
