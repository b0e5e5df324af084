"""Generators of hostile inputs, and the judge of what came of them."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import PipelineError
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.shards.making.rows import make_row
from pipeline.shards.making.writer import ShardRow
from stages.cli import run

SEED = 20261126
_DEEP = "@deep@"
_DEPTH = 100_000


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


SPOILED: dict[str, Any] = {
    "null": None,
    "a text": "x",
    "a number": 7,
    "a fraction": 0.5,
    "negative": -1,
    "huge": 10**30,
    "not finite": float("nan"),
    "true": True,
    "no text": "",
    "empty list": [],
    "empty object": {},
    "nested": _nested(100),
    "nested too deep for any reader": _DEEP,
    "another path": "../../../../etc/passwd",
    "half a character": "\ud800",
    "lines and control characters": "a\nb\x1b[2J\x00",
    "list of objects": [{}, None],
}
_REMOVED = "removed"


def as_json(value: Any) -> str:
    """JSON text of a value, spoiled ones included."""
    return json.dumps(value).replace(f'"{_DEEP}"', "[" * _DEPTH + "]" * _DEPTH)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in parts:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def spoil(value: Any, most: int) -> list[tuple[str, Any]]:
    """JSON values that differ in one field, each with what was done; a seeded choice if there are more than ``most``.

    Every field is spoiled in at least one way; all fields of the first level get null and are removed.
    """
    paths = list(_paths(value))
    kinds = [*SPOILED, _REMOVED]
    first = [(path, kind) for path in paths if len(path) == 1 for kind in ("null", _REMOVED)]
    rng = np.random.default_rng(SEED)
    first += [(path, kinds[int(rng.integers(len(kinds)))]) for path in paths]
    others = [(path, kind) for path in paths for kind in kinds if (path, kind) not in first]
    order = rng.permutation(len(others))[: max(0, most - len(first))]
    made = []
    for path, kind in [*dict.fromkeys(first), *(others[index] for index in order)]:
        changed = deepcopy(value)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        if kind == _REMOVED:
            del inner[path[-1]]
        else:
            inner[path[-1]] = SPOILED[kind]
        made.append((f"{'.'.join(map(str, path))}: {kind}", changed))
    return made


def spoil_bytes(data: bytes, count: int, seed: int = SEED) -> Iterator[tuple[str, bytes]]:
    """Files that differ in a few bytes, are cut short, or have something put in or after them."""
    rng = np.random.default_rng(seed)
    yield "empty", b""
    yield "text", b"this is something else\n"
    for number in range(count):
        changed = bytearray(data)
        at = int(rng.integers(len(data)))
        kind = number % 4
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = rng.bytes(int(rng.integers(1, 64)))
        else:
            stop = min(len(data), at + int(rng.integers(1, 64)))
            changed[at:stop] = rng.bytes(stop - at)
        yield f"{('bit', 'cut', 'inserted', 'overwritten')[kind]} at {at}", bytes(changed)


@dataclass
class Tally:
    """What came of the attempts, by kind of input: taken, refused, and a description of each that was lost."""

    counts: dict[str, list[int]] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, label: str, outcome: str, told: str) -> None:
        """Count an attempt; ``outcome`` is taken, refused or lost."""
        counts = self.counts.setdefault(kind, [0, 0])
        if outcome == "lost":
            self.lost.setdefault(kind, []).append(f"{label} -> {told}")
        else:
            counts[outcome == "refused"] += 1

    def check(self, kind: str) -> None:
        """Fail if an attempt was lost, or if nothing was refused."""
        assert not self.lost.get(kind), "\n".join(self.lost[kind])
        assert self.counts[kind][1] > 0, "nothing was refused: the attempts do not reach what they are aimed at"

    def table(self) -> str:
        """Markdown."""
        lines = ["| input | tried | taken | refused | lost |", "|---|---|---|---|---|"]
        for kind, (taken, refused) in self.counts.items():
            lost = len(self.lost.get(kind, []))
            lines.append(f"| {kind} | {taken + refused + lost:,} | {taken:,} | {refused:,} | {lost} |")
        return "\n".join(lines)


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """Run a command line in this process: what came of it, and what it told."""
    capsys.readouterr()
    try:
        code = run([*words, "--quiet"])
    except Exception as error:  # what a user would see as a traceback
        return "lost", f"{type(error).__name__}: {error}"[:400]
    told = capsys.readouterr().err
    lines = told.splitlines()
    if code == 0:
        return "taken", told
    one = len(lines) == 1 and lines[0].startswith("error: ") and lines[0].isprintable() and len(lines[0]) > 20
    return ("refused" if code == 2 and one else "lost"), f"exit code {code}: {told[:400]}"


def call(function: Callable[[], object]) -> tuple[str, str]:
    """As :func:`command`, of a function of the library."""
    try:
        function()
    except PipelineError as error:
        return ("refused" if str(error) else "lost"), str(error)[:400]
    except Exception as error:
        return "lost", f"{type(error).__name__}: {error}"[:400]
    return "taken", ""


@dataclass(frozen=True)
class Place:
    """A folder with parameters, a data set's description and all artifacts."""

    folder: Path

    @property
    def artifacts(self) -> Path:
        """Of the data set."""
        return self.folder / "artifacts" / "figures"

    @property
    def shards(self) -> Path:
        """Its shards."""
        return self.artifacts / "shards"

    @property
    def params(self) -> Sequence[str]:
        """Words of a command line."""
        return ("--params", str(self.folder / "params.yaml"))

    def copy(self, folder: Path) -> "Place":
        """All of it somewhere else."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Place(folder)


def figure_rows() -> list[ShardRow]:
    """Two training and two test identities, two outfits, two cameras, two takes: noise with a face and a garment."""
    rows = []
    for person in range(1, 5):
        for number in range(8):
            outfit, camera, take = number // 4, number // 2 % 2 + 1, number % 2
            rng = np.random.default_rng([person, number])
            image = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
            labels = np.zeros((64, 32), dtype=np.uint8)
            labels[4:18, 10:22], labels[18:44, 8:24] = 13, 5
            mask = clothes_mask(labels, LIP.clothes)
            split = "train" if person <= 2 else ("query" if take == 0 else "gallery")
            row = ManifestRow(f"{person}_{number}.png", split, person, camera, 10 * person + outfit)
            rows.append(make_row(row, image, labels, mask, Quality(0.6, float(mask.mean()), 0.9, ())))
    return rows
