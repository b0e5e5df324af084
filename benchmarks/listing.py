"""Times the listing and labelling of large data sets made of empty files, and the memory that it takes.

    python benchmarks/listing.py --files 100000 --files 350000

Each size runs in a process of its own, so that its peak memory is its own. The trees are removed at the end.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.datasets.catalog import load_facts, read_dataset


def ltcc_names(files: int) -> Iterator[str]:
    """Names of LTCC's form in one flat folder."""
    for number in range(files):
        yield f"train/{number // 64:04d}_{number // 16 % 4}_c{number % 12 + 1}_{number:06d}.png"


def last_names(files: int) -> Iterator[str]:
    """Names of LaST's form: a folder of fourteen files an identity."""
    for number in range(files):
        person = number // 14
        yield f"train/{person:06d}/{person:06d}_{number:07d}_{number % 3}.jpg"


def ccvid_names(files: int) -> Iterator[str]:
    """Names of CCVID's form: tracklets of 122 frames."""
    for number in range(files):
        tracklet = number // 122
        yield f"session{tracklet % 3 + 1}/{tracklet // 12:03d}_{tracklet % 12 + 1:02d}/{number % 122:05d}.jpg"


NAMES: dict[str, Callable[[int], Iterator[str]]] = {"ltcc": ltcc_names, "last": last_names, "ccvid": ccvid_names}


def make_tree(folder: Path, dataset: str, files: int) -> None:
    """Create the empty files, and the split file where the data set has one."""
    made: set[Path] = set()
    for name in NAMES[dataset](files):
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.touch()
    if dataset == "ccvid":
        lines = [f"{path.relative_to(folder).as_posix()}\t{path.name[:3]}\tu0" for path in sorted(made)]
        (folder / "train.txt").write_text("\n".join(lines) + "\n")


def measure(folder: Path, dataset: str) -> dict[str, float]:
    """Read the data set once; seconds, rows, and how far the peak memory rose above that of the bare program."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    listing = read_dataset(load_facts(dataset), folder)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rows": listing.manifest.num_rows, "seconds": seconds, "mebibytes": (after - before) / 1024}


def main() -> None:
    """Make the trees, measure each in a fresh process, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, action="append", help="files of a tree; repeatable")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "DATASET"), help="only read this tree")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(Path(arguments.measure[0]), arguments.measure[1])))
        return
    print("data set    files   seconds  s/100,000   MiB  bytes/row")
    for dataset in NAMES:
        for files in arguments.files or [100_000, 350_000]:
            with tempfile.TemporaryDirectory() as name:
                make_tree(Path(name), dataset, files)
                command = [sys.executable, __file__, "--measure", name, dataset]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
            result = json.loads(done.stdout)
            per_row = result["mebibytes"] * 2**20 / result["rows"]
            print(
                f"{dataset:8s} {result['rows']:8,d} {result['seconds']:9.2f} "
                f"{result['seconds'] * 1e5 / result['rows']:10.2f} {result['mebibytes']:5.0f} {per_row:10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
