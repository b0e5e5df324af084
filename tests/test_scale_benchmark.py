"""The benchmark of the driver runs at a small size: its figures mean something at ten million rows only."""

import json
import subprocess
import sys
from pathlib import Path

SCALE = Path(__file__).resolve().parent.parent / "benchmarks" / "scale.py"


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, str(SCALE), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_phase_of_both_runs_is_measured() -> None:
    found = json.loads(run("--rows", "3000", "--rows-per-shard", "100", "--actors", "2", "--rate", "100"))
    assert (found["rows"], found["shards"], found["actors"]) == (3000, 30, 2)
    assert found["driver_ms_per_shard"] > 0
    assert 0 < found["shards_per_second"] < 110
    seen = {"check_image_ids", "bind_content", "plan_shards", "first worker", "make", "write_record", "whole run"}
    assert seen <= found["first_run"].keys()
    assert found["second_run"]["check"]["seconds"] > 0
    assert found["second_run"]["make"]["processor"] < found["first_run"]["make"]["processor"]


def test_waits_cost_something() -> None:
    found = json.loads(run("--waits", "2,20"))
    assert found["milliseconds_of_a_wait"].keys() == {"2", "20"}
    assert min(found["milliseconds_of_a_wait"].values()) > 0
