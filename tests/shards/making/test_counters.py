import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.location import locate
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.counters import PHASES, PhaseClock
from pipeline.shards.making.maker import ShardMaker
from pipeline.shards.making.plan import plan_shards, rows_of
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import build_parser


def test_a_clock_adds_up_what_threads_spend_and_begins_anew() -> None:
    clock = PhaseClock()

    def work() -> None:
        clock.timed("read", time.sleep)(0.05)
        with clock.phase("parse"):
            time.sleep(0.01)

    threads = [threading.Thread(target=work) for _ in range(4)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.perf_counter() - started
    seconds = clock.take()
    assert seconds.keys() == {"read", "parse"}
    assert 0.2 <= seconds["read"] <= 4 * passed
    assert 0.04 <= seconds["parse"] <= 4 * passed
    assert clock.take() == {}


def test_the_time_of_a_call_that_fails_counts_too() -> None:
    clock = PhaseClock()
    with pytest.raises(ValueError, match="no number"):
        clock.timed("read", int)("no number")
    assert clock.take().keys() == {"read"}


def test_a_shard_takes_time_in_every_phase(image_folder: Any, plugin_parser: Path, tmp_path: Path) -> None:
    settings = ShardSettings(parser="tiles", settings={"seconds": 0.001}, max_pixels=10_000)
    parser = build_parser(settings, "cpu")
    manifest = image_folder.manifest
    _, provenance = bind_content("tiny", manifest, settings, parser)
    maker = ShardMaker(parser, settings, provenance, locate(image_folder.folder), WorkSettings(batch_size=8))
    spec = plan_shards(manifest.num_rows, 512, 64)[0]
    started = time.perf_counter()
    maker.make(rows_of(manifest, spec), tmp_path / spec.name)
    passed = time.perf_counter() - started
    maker.close()
    seconds = maker.clock.take()
    assert set(seconds) == set(PHASES)
    assert all(0 < value <= 2 * passed for value in seconds.values()), "two threads at the most are in one phase"
    assert seconds["parse"] >= 0.001 * (manifest.num_rows - len(image_folder.bad))
