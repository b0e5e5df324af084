"""Measures this project on one GPU in under seventeen minutes, with random weights and people that it renders itself.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --parts step,prompts
    python benchmarks/gpu.py --device cpu --quick          # a small network: shows that the program works, no more

Parts, each in a process of its own that is stopped at its time limit, so that no part costs another its figures:

- ``card``: name, memory and software, and what the card's matrix product really does in each precision.
- ``step``: a step of stage 2 of every method by the real training loop (64 pairs, ViT-B/16 at 256x128) beside a bare
  step (forward, backward, optimizer) of the same encoders, and beside the time that its products alone would take at
  the measured rate of the matrix product, which no step can beat: the roofline. Nothing is compiled, and the images are
  on the card already.
- ``compiled``: the same of two methods in bf16 with compiled encoders, in the bare step too, and the first step, which
  compiles (the second method finds the code of the first).
- ``prompts``: a step of stage 1 with cached features.
- ``extraction``: features a second from JPEG bytes, beside decoding alone and the network alone.
- ``ranks``: a step of stage 2 by 1, 2, 4 and 8 GPUs, as many as there are, with a batch that they share and with one
  that grows with them (``encoder.batch_per_worker``).
- ``parse``: the parse stage with ``lite`` and SCHP by 1, 2 and 4 workers that share the GPU, and by as many as it
  chooses itself; with and without stored shielding images; beside the network alone.

The exit code is 0 if every row of the wanted parts was measured, 1 if some were not, 2 if the device is not there.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gpu_extraction
import gpu_parse
import gpu_parts
import gpu_ranks
from gpu_parts import Row

from pipeline.device import choose_device
from pipeline.errors import InputError

PARTS: Mapping[str, int] = {
    "card": 40, "step": 210, "compiled": 210, "prompts": 50, "extraction": 80, "ranks": 60, "parse": 330,
}  # fmt: skip
"""Seconds that a part may take; 980 together."""
FORMAT = 1


def measure(part: str, device: str, quick: bool) -> Iterator[Row]:
    """The rows of one part, each as soon as it is measured."""
    size = gpu_parts.QUICK if quick else gpu_parts.FULL
    if part == "parse":
        return gpu_parse.parse(device, quick)
    return {
        "card": gpu_parts.card,
        "step": gpu_parts.step,
        "prompts": gpu_parts.prompts,
        "compiled": gpu_parts.compiled,
        "extraction": gpu_extraction.extraction,
        "ranks": gpu_ranks.ranks,
    }[part](device, size)


def measure_apart(part: str, device: str, quick: bool, seconds: float) -> tuple[list[Row], str | None]:
    """The rows of a part that were ready in time, and what went wrong, if anything did."""
    words = [sys.executable, __file__, "--device", device, "--inside", part, *(["--quick"] if quick else [])]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.PIPE, text=True, start_new_session=True)
        problem = None
        try:
            _, errors = process.communicate(timeout=seconds)
            if process.returncode:
                problem = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            problem = f"stopped after {seconds:.0f} s, the rows before are whole"
        output.seek(0)
        lines = output.read().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")], problem


def rates(card: Sequence[Row]) -> dict[str, float]:
    """TFLOP/s of the matrix product by precision."""
    return {row["precision"]: row["tflops"] for row in card if "tflops" in row}


def with_roofline(row: Row, measured: Mapping[str, float]) -> Row:
    """A row of a step with what its time is of the bare step's and of the roofline, where that was measured."""
    found = {**row, "ratio": row["step_ms"] / row["bare_ms"], "bare_of_step": row["bare_ms"] / row["step_ms"]}
    if row["precision"] in measured:
        roofline = row["step_flops"] / measured[row["precision"]] / 1e9
        found |= {"roofline_ms": roofline, "of_roofline": roofline / row["step_ms"]}
    return found


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Rows as a Markdown table; ``columns`` gives the heading of each key."""
    lines = [f"| {' | '.join(columns.values())} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_shown(row.get(key)) for key in columns)} |" for row in rows]
    return "\n".join(lines)


COLUMNS: Mapping[str, Mapping[str, str]] = {
    "card": {"precision": "matrix product", "rows": "rows", "tflops": "TFLOP/s"},
    "step": {
        "method": "method", "precision": "numbers", "encoders": "encoders", "pairs": "pairs", "step_ms": "step, ms",
        "bare_ms": "bare, ms", "ratio": "ratio", "roofline_ms": "roofline, ms", "of_roofline": "share of roofline",
        "peak_gigabytes": "peak, GB",
    },
    "compiled": {
        "method": "method", "precision": "numbers", "encoders": "encoders", "pairs": "pairs", "step_ms": "step, ms",
        "bare_ms": "bare, ms", "bare_of_step": "share of bare", "roofline_ms": "roofline, ms",
        "of_roofline": "share of roofline", "first_step_seconds": "first step, s", "graphs": "graphs compiled",
        "peak_gigabytes": "peak, GB",
    },
    "prompts": {"precision": "numbers", "images": "images", "step_ms": "step, ms", "peak_gigabytes": "peak, GB"},
    "extraction": {
        "precision": "numbers", "images_per_second": "images/s", "bare_images_per_second": "network alone, images/s",
        "of_bare": "share of it", "decoded_images_per_second": "decoding alone, images/s",
        "peak_gigabytes": "peak, GB",
    },
    "ranks": {
        "workers": "GPUs", "batch": "batch", "pairs": "pairs", "pairs_per_worker": "pairs a GPU", "step_ms": "step, ms",
        "pairs_per_second": "pairs/s", "gradient_megabytes": "gradients, MB",
    },
    "parse": {
        "what": "what", "parser": "parser", "workers": "workers", "precision": "numbers",
        "shielded": "shielding images", "images": "images", "images_per_second": "images/s",
        "of_bare": "share of network", "startup_seconds": "start-up, s", "problem": "problem",
    },
}  # fmt: skip


def _print_part(part: str, rows: Sequence[Row], problem: str | None) -> None:
    print(f"\n## {part}\n", flush=True)
    if part == "card":
        for row in rows:
            if "tflops" not in row:
                print("\n".join(f"- {key}: {value}" for key, value in row.items()) + "\n")
        rows = [row for row in rows if "tflops" in row]
    print(table(rows, COLUMNS[part]), flush=True)
    if problem is not None:
        print(f"\nNOT COMPLETE: {problem}", flush=True)


def run(device: str, quick: bool, parts: Sequence[str], share: float) -> dict[str, Any]:
    """Measure and print all parts; ``share`` is that of each part's time limit."""
    started = time.monotonic()
    found: dict[str, Any] = {"format": FORMAT, "device": device, "quick": quick, "problems": {}}
    measured: dict[str, float] = {}
    for part in parts:
        rows, problem = measure_apart(part, device, quick, share * PARTS[part])
        if part == "card":
            measured = rates(rows)
        if part in ("step", "compiled"):
            rows = [with_roofline(row, measured) for row in rows]
        failed = [row["problem"] for row in rows if "problem" in row]
        problem = problem or (failed[0] if failed else None)
        found[part] = rows
        if problem is not None:
            found["problems"][part] = problem
        _print_part(part, rows, problem)
    found["seconds"] = round(time.monotonic() - started, 1)
    return found


def _parts(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = sorted(set(wanted) - PARTS.keys())
    if unknown:
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}; parts are {', '.join(PARTS)}")
    return [name for name in PARTS if name in wanted]


def main() -> None:
    """Measure, print tables, and write JSON beside them if wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="torch device; default: cuda")
    parser.add_argument("--quick", action="store_true", help="small network, few steps: a test of this program")
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help=f"some of {','.join(PARTS)}; default: all")
    parser.add_argument("--time", type=float, default=1.0, help="factor on every part's time limit; default: 1")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--inside", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        choose_device(options.device)
    except InputError as error:
        print(f"NOTHING WAS MEASURED: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if options.inside:
        for row in measure(options.inside, options.device, options.quick):
            print(json.dumps(row), flush=True)
        return
    found = run(options.device, options.quick, options.parts, options.time)
    print(f"\n{found['seconds']} s", flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")
        print(f"figures -> {options.out}")
    if found["problems"]:
        print(f"NOT COMPLETE: {', '.join(found['problems'])}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
