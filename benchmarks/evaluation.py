"""Times scoring beside the loop of published re-identification code, on synthetic features, in one run.

    python benchmarks/evaluation.py --size ltcc --size last --size deepchange

For each size one process writes a feature file, and another reads it, scores it as ``ccaf-pipeline evaluate`` does,
notes its own peak memory, and only then times the loop: a full argsort a query, junk removed from the sorted list,
cumulative sums for CMC and AP, in numpy, on the very same similarities. The loop is timed on some queries evenly spread
over the set, and its time is scaled to all of them. Both need the matrix product, so its time is told apart and counts
for both alike. Average precisions of these queries are compared, for which the loop sorts once more, equal distances in
the order of the gallery.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from pipeline.evaluation.metrics import summarise
from pipeline.evaluation.protocols import PROTOCOLS, select
from pipeline.evaluation.ranking import score
from pipeline.evaluation.rerank import reranked_blocks
from pipeline.evaluation.settings import RerankSettings
from pipeline.evaluation.similarity import Scores, similarity_blocks
from pipeline.features.feature_set import FeatureSet, Integers, read_features

DIMENSION = 1280
LATENT = 48
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Size:
    """Counts of a published test set."""

    protocol: str
    queries: int
    gallery: int
    identities: int
    cameras: int


SIZES = {
    "ltcc": Size("general", 493, 7_050, 75, 12),
    "last": Size("last", 10_176, 125_353, 5_805, 1),
    "deepchange": Size("deepchange", 17_527, 62_956, 521, 17),
}


def _persons(generator: np.random.Generator, rows: int, identities: int) -> Integers:
    """Every identity at least once, the others by a skewed law, as test sets have it."""
    weights = generator.lognormal(0, 0.7, identities)
    more = generator.choice(identities, rows - identities, p=weights / weights.sum())
    return generator.permutation(np.concatenate([np.arange(min(identities, rows)), more]))


def make_features(path: Path, size: Size) -> None:
    """Write features that are clustered by identity in a space of few dimensions, so that the task is neither easy
    nor hopeless."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((size.identities, LATENT)).astype(np.float32)
    projection = generator.standard_normal((LATENT, DIMENSION)).astype(np.float32)
    schema = pa.schema(
        [
            ("image_id", pa.string()),
            ("role", pa.string()),
            ("person_id", pa.int64()),
            ("camera_id", pa.int32()),
            ("tracklet_id", pa.int64()),
            ("feature", pa.list_(pa.float32(), DIMENSION)),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for role, rows in (("gallery", size.gallery), ("query", size.queries)):
            persons = _persons(generator, rows, size.identities)
            for start in range(0, rows, ROWS_AT_ONCE):
                person = persons[start : start + ROWS_AT_ONCE]
                count = len(person)
                latent = centres[person] + 1.1 * generator.standard_normal((count, LATENT), dtype=np.float32)
                values = latent @ projection + generator.standard_normal((count, DIMENSION), dtype=np.float32)
                columns = [
                    [f"{role}/{start + i:07d}.jpg" for i in range(count)],
                    [role] * count,
                    person,
                    generator.integers(0, size.cameras, count).astype(np.int32),
                    person * 100 + generator.integers(0, 20, count),
                    pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), DIMENSION),
                ]
                writer.write_table(pa.table(columns, schema=schema))


def loop_query(
    distances: Scores, person: int, camera: int, persons: Integers, cameras: Integers, *, stable: bool
) -> float:
    """Average precision of one query as the published loops get it; CMC is made too, for it is a part of them."""
    order = np.argsort(distances, kind="stable" if stable else None)
    kept = (persons[order] != person) | (cameras[order] != camera)
    matches = (persons[order] == person)[kept].astype(np.int32)
    if not matches.any():
        return np.nan
    found = matches.cumsum()
    cmc = np.minimum(found, 1)
    precision = found / (np.arange(len(matches)) + 1.0)
    return float((precision * matches).sum() / matches.sum()) + 0 * float(cmc[0])


class Stopwatch:
    """Seconds by the clock and of the processors, added up over all blocks that it is the context of."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self.wall -= time.perf_counter()
        self.cpu -= time.process_time()

    def __exit__(self, *error: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


def timed_blocks(query: FeatureSet, gallery: FeatureSet, watch: Stopwatch) -> Iterator[tuple[int, Scores]]:
    """The blocks of similarities; the time of making them goes to ``watch``."""
    blocks = similarity_blocks(query.features, gallery.features)
    while True:
        with watch:
            block = next(blocks, None)
        if block is None:
            return
        yield block


def time_loop(query: FeatureSet, gallery: FeatureSet, sample: Integers, watch: Stopwatch) -> NDArray[np.float64]:
    """Average precisions of the sampled queries by the loop; its time goes to ``watch``."""
    chosen = query.take(sample)
    precisions = np.empty(len(sample))
    for start, block in similarity_blocks(chosen.features, gallery.features):
        for row, position in zip(-block, range(start, start + len(block)), strict=True):
            person, camera = int(chosen.person_id[position]), int(chosen.camera_id[position])
            with watch:
                loop_query(row, person, camera, gallery.person_id, gallery.camera_id, stable=False)
            precisions[position] = loop_query(row, person, camera, gallery.person_id, gallery.camera_id, stable=True)
    return precisions


def measure(path: Path, size: Size, sampled: int, threads: int, rerank: bool) -> dict[str, float]:
    """Times in seconds (``_cpu``: of the processors), peak memory in MB, and the largest difference of an AP."""
    torch.set_num_threads(threads)
    protocol = PROTOCOLS[size.protocol]
    read, whole, product, rest = Stopwatch(), Stopwatch(), Stopwatch(), Stopwatch()
    with read:
        query, gallery = select(read_features(path)[0], protocol)
    with whole:
        retrieval = score(query, gallery, protocol, blocks=timed_blocks(query, gallery, product))
    with rest:
        summary = summarise([retrieval], 1000, 0)
    result = {
        "good": float(retrieval.good[retrieval.valid].mean()),
        "mAP": float(summary["mAP"]),
        "read": read.wall,
        "product": product.wall,
        "product_cpu": product.cpu,
        "ranking": whole.wall - product.wall,
        "ranking_cpu": whole.cpu - product.cpu,
        "bootstrap": rest.wall,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sample = np.linspace(0, len(query) - 1, min(sampled, len(query))).round().astype(np.int64)
    loop = Stopwatch()
    precisions = time_loop(query, gallery, sample, loop)
    scale = len(query) / len(sample)
    ours = np.where(retrieval.valid, retrieval.average_precision, np.nan)[sample]
    result |= {
        "loop": loop.wall * scale,
        "loop_cpu": loop.cpu * scale,
        "sampled": float(len(sample)),
        "largest_difference": float(np.nanmax(np.abs(ours - precisions))),
    }
    if rerank:
        again = Stopwatch()
        with again:
            blocks = reranked_blocks(query.features, gallery.features, RerankSettings(rerank_gigabytes=64))
            score(query, gallery, protocol, blocks=blocks)
        result |= {
            "rerank": again.wall,
            "rerank_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    return result


def report(name: str, size: Size, found: dict[str, float]) -> str:
    """What was measured, in words."""
    total = found["product"] + found["ranking"]
    loop_total = found["product"] + found["loop"]
    pairs = size.queries * size.gallery
    flops = 2 * pairs * DIMENSION / found["product"] / 1e9
    lines = [
        f"{name}: {size.queries:,} queries x {size.gallery:,} items, {found['good']:.0f} good items a query, "
        f"mAP {found['mAP']:.1f}",
        f"  matrix product {found['product']:8.2f} s ({flops:.0f} GFLOP/s), the floor of both",
        f"  ranking alone  {found['ranking']:8.2f} s, loop {found['loop']:8.2f} s: "
        f"{found['loop'] / found['ranking']:.1f} times",
        f"    on processors {found['ranking_cpu']:7.2f} s, loop {found['loop_cpu']:8.2f} s: "
        f"{found['loop_cpu'] / found['ranking_cpu']:.1f} times",
        f"  both           {total:8.2f} s, loop {loop_total:8.2f} s: {loop_total / total:.1f} times; "
        f"{1e9 * total / pairs:.1f} ns a pair",
        f"  reading {found['read']:.2f} s, intervals {found['bootstrap']:.2f} s, peak memory {found['peak_mb']:.0f} MB",
        f"  loop timed on {found['sampled']:.0f} queries; largest difference in AP {found['largest_difference']:.1e}",
    ]
    if "rerank" in found:
        lines.append(f"  re-ranking {found['rerank']:.1f} s, peak memory {found['rerank_peak_mb']:.0f} MB")
    return "\n".join(lines)


def _child(*arguments: str) -> str:
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def main() -> None:
    """Make each set, measure it in a fresh process, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, action="append", help="repeatable; default: all")
    parser.add_argument("--sample", type=int, default=200, help="queries that the loop is timed on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rerank", action="store_true", help="time re-ranking as well")
    parser.add_argument("--make", type=Path, help="only write this feature file")
    parser.add_argument("--measure", type=Path, help="only measure this feature file")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON lines")
    arguments = parser.parse_args()
    for name in arguments.size or list(SIZES):
        size = SIZES[name]
        if arguments.make:
            make_features(arguments.make, size)
        elif arguments.measure:
            print(json.dumps(measure(arguments.measure, size, arguments.sample, arguments.threads, arguments.rerank)))
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = f"{folder}/features.parquet"
                _child("--size", name, "--make", path)
                options = ["--sample", str(arguments.sample), "--threads", str(arguments.threads)]
                options += ["--rerank"] if arguments.rerank else []
                found = json.loads(_child("--size", name, "--measure", path, *options))
            text = json.dumps({"size": name, **asdict(size), **found}) if arguments.json else report(name, size, found)
            print(text, flush=True)


if __name__ == "__main__":
    main()
