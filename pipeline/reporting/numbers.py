"""The table of retrieval metrics: each protocol of metrics.json, trained beside frozen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from pipeline.artifacts import Artifact, Count, Word, explain
from pipeline.errors import InputError
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.files import read_json

METRICS = {
    "rank1": "Rank-1",
    "rank5": "Rank-5",
    "rank10": "Rank-10",
    "rank20": "Rank-20",
    "mAP": "mAP",
    "mINP": "mINP",
}
"""Keys of metrics.json in the order of the page, and their names."""


@dataclass(frozen=True)
class Absent:
    """A part of the page that could not be made.

    Attributes:
        what: What is missing, one sentence.
        how: The command that makes it.
    """

    what: str
    how: str


@dataclass(frozen=True)
class Figure:
    """One metric in percent.

    Attributes:
        value: The metric.
        low: Lower end of its interval; None where it has none.
        high: Upper end.
        spread: Standard deviation over the draws of a single-shot protocol or over pairs of subsets; None elsewhere.
    """

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Score:
    """The entry of one protocol in metrics.json.

    Attributes:
        name: Of the protocol.
        meaning: What it means.
        n_query: Queries.
        n_gallery: Gallery items.
        n_skipped: Queries without a right item; they are in no mean.
        draws: Draws of the gallery; 0 unless single-shot.
        figures: By key of :data:`METRICS`.
        pairs: Pairs of subsets, each of which counts the same; 0 unless the protocol has them.
    """

    name: str
    meaning: str
    n_query: int
    n_gallery: int
    n_skipped: int
    draws: int
    figures: dict[str, Figure]
    pairs: int = 0


@dataclass(frozen=True)
class Metrics:
    """What a metrics file holds.

    Attributes:
        path: The file.
        config: Its keys but the protocols.
        scores: One a protocol, the general one first.
        reranked: By protocol, the scores after re-ranking; empty if that was not asked for.
    """

    path: Path
    config: dict[str, Any]
    scores: tuple[Score, ...]
    reranked: dict[str, Score] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricRow:
    """One line of a protocol's table.

    Attributes:
        name: Of the metric.
        trained: Of the trained model.
        frozen: Of the frozen one, if it was scored.
        gain: Trained less frozen, in points; 0 without frozen.
        reranked: Of the trained model after re-ranking, if that was scored.
    """

    name: str
    trained: Figure
    frozen: Figure | None
    gain: float
    reranked: Figure | None


@dataclass(frozen=True)
class ProtocolTable:
    """A protocol's table.

    Attributes:
        score: Of the trained model.
        rows: Its metrics.
        frozen: Whether there is a column of the frozen model.
        reranked: Whether there is a column of re-ranking.
    """

    score: Score
    rows: tuple[MetricRow, ...]
    frozen: bool
    reranked: bool


@dataclass(frozen=True)
class Numbers:
    """The section of numbers.

    Attributes:
        protocols: One table each.
        intervals: Whether any figure has an interval.
        frozen: None where the frozen model was scored, else what is missing.
    """

    protocols: tuple[ProtocolTable, ...]
    intervals: bool
    frozen: Absent | None


class _EntryFields(Artifact):
    name: Word
    meaning: str = ""
    n_query: Count
    n_gallery: Count
    n_skipped: Count
    draws: Count = 0
    pairs: Count = 0


class MetricsFields(Artifact):
    """What the page reads of a metrics file besides the figures."""

    protocols: dict[Word, _EntryFields]
    reranked: dict[Word, _EntryFields] = Field(default_factory=dict)
    dataset: Word | None = None
    checkpoint_sha256: Word | None = None
    bootstrap: Count | None = None
    warnings: list[str] | None = None


def _figure(entry: Mapping[str, Any], key: str) -> Figure:
    low, high = entry.get(f"{key}_interval") or (None, None)
    figure = Figure(entry[key], low, high, entry.get(f"{key}_sd"))
    for value in (figure.value, figure.low, figure.high, figure.spread):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value)):
            raise ValueError(f"{key} of protocol {entry['name']} is {value!r}, not a number")
    return figure


def _score(entry: Mapping[str, Any]) -> Score:
    return Score(
        name=entry["name"],
        meaning=entry.get("meaning", ""),
        n_query=entry["n_query"],
        n_gallery=entry["n_gallery"],
        n_skipped=entry["n_skipped"],
        draws=entry.get("draws", 0),
        pairs=entry.get("pairs", 0),
        figures={key: _figure(entry, key) for key in METRICS},
    )


def _place(score: Score) -> int:
    """Where a protocol comes on the page: in the order of the program's own list, unknown ones last."""
    known = list(PROTOCOLS)
    return known.index(score.name) if score.name in known else len(known)


def read_metrics(path: Path, made_by: str) -> Metrics:
    """Read a metrics file.

    Args:
        path: Written by evaluate.
        made_by: The command that makes it, for messages.

    Raises:
        InputError: It is missing, or is no metrics file.
    """
    if not path.is_file():
        raise InputError(f"no metrics at {path}: run `{made_by}` first")
    value = read_json(path, "metrics")
    try:
        MetricsFields.model_validate(value)
        scores = tuple(sorted((_score(entry) for entry in value["protocols"].values()), key=_place))
        reranked = {name: _score(entry) for name, entry in value.get("reranked", {}).items()}
        config = {key: item for key, item in value.items() if key not in ("protocols", "reranked")}
    except ValidationError as error:
        raise InputError(
            f"{path} is no metrics file of ccaf-pipeline evaluate ({explain(error)}): run `{made_by}`"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no metrics file of ccaf-pipeline evaluate ({error}): run `{made_by}`") from error
    if not scores:
        raise InputError(f"{path} holds no protocol: run `{made_by}`")
    return Metrics(path, config, scores, reranked)


def _table(trained: Score, frozen: Score | None, reranked: Score | None) -> ProtocolTable:
    rows = []
    for key, name in METRICS.items():
        other = frozen.figures[key] if frozen else None
        after = reranked.figures[key] if reranked else None
        figure = trained.figures[key]
        rows.append(MetricRow(name, figure, other, figure.value - other.value if other else 0.0, after))
    return ProtocolTable(trained, tuple(rows), frozen is not None, reranked is not None)


def make_numbers(trained: Metrics, frozen: Metrics | Absent) -> Numbers:
    """Put the trained model's metrics beside the frozen one's, protocol by protocol."""
    others = {} if isinstance(frozen, Absent) else {score.name: score for score in frozen.scores}
    figures = [figure for score in trained.scores for figure in score.figures.values()]
    return Numbers(
        protocols=tuple(
            _table(score, others.get(score.name), trained.reranked.get(score.name)) for score in trained.scores
        ),
        intervals=any(figure.low is not None for figure in figures),
        frozen=frozen if isinstance(frozen, Absent) else None,
    )
