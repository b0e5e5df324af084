"""What tuning found: the score of every point of the grid, and the best one of each method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.studies.plan import GridPoint
from pipeline.studies.rows import Plan
from pipeline.studies.schedule import Note
from pipeline.studies.statistics import Spread, spread_of
from pipeline.studies.study import Study, Tuning
from pipeline.studies.table import METRICS, read_protocols


@dataclass(frozen=True)
class Score:
    """A point of the grid with its score over the tuning seeds; None: a run of it failed."""

    point: GridPoint
    spread: Spread | None


def scores_of(plan: Plan, points: Sequence[GridPoint], notes: Mapping[str, Note], tuning: Tuning) -> tuple[Score, ...]:
    """Read the scores of all points.

    Raises:
        InputError: The data set has no such protocol, or a metrics file is damaged.
    """
    rows = {row.name: row for row in plan.rows}
    scores = []
    for point in points:
        values: dict[int, float] = {}
        for seed, run in rows[point.row].runs.items():
            if run.metrics in notes:
                protocols = read_protocols(plan.steps[run.metrics].out)
                if tuning.protocol not in protocols:
                    raise InputError(f"tuning.protocol {tuning.protocol} is not among {', '.join(protocols)}")
                values[seed] = protocols[tuning.protocol][tuning.metric]
        whole = len(values) == len(rows[point.row].runs)
        scores.append(Score(point, spread_of(values) if whole else None))
    return tuple(scores)


def choose(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """The values with the best mean score, by method; of equals the first of the grid."""
    best: dict[str, Score] = {}
    for score in scores:
        held = best.get(score.point.method)
        if score.spread is not None and (held is None or held.spread is None or score.spread.mean > held.spread.mean):
            best[score.point.method] = score
    return {method: dict(score.point.values) for method, score in best.items()}


def tuning_as_json(
    name: str, study: Study, scores: Sequence[Score], chosen: Mapping[str, Mapping[str, Any]], failures: Sequence[str]
) -> dict[str, Any]:
    """Everything as a JSON-like value."""
    assert study.tuning is not None
    return {
        "study": name,
        "complete": not failures,
        "failures": list(failures),
        "protocol": study.tuning.protocol,
        "metric": study.tuning.metric,
        "seeds": list(study.tuning.seeds),
        "scores": [
            {
                "method": score.point.method,
                "values": dict(score.point.values),
                "mean": None if score.spread is None else score.spread.mean,
                "by_seed": {} if score.spread is None else {str(k): v for k, v in score.spread.values.items()},
            }
            for score in scores
        ],
        "tuned": {method: dict(values) for method, values in chosen.items()},
    }


def tuning_as_markdown(
    study: Study, scores: Sequence[Score], chosen: Mapping[str, Mapping[str, Any]], failures: Sequence[str]
) -> str:
    """A table of every score; the chosen ones are bold."""
    assert study.tuning is not None
    tuning = study.tuning
    keys = list(tuning.grid)
    what = f"{tuning.protocol} {METRICS[tuning.metric]}"
    lines = [f"# Tuning: {study.title}", ""]
    if failures:
        lines += ["**Incomplete:**", "", *(f"- {failure}" for failure in failures), ""]
    lines += [f"{what} in percent, on seeds that are in no table.", ""]
    lines += [f"| method | {' | '.join(keys)} | {what} | {' | '.join(f'seed {seed}' for seed in tuning.seeds)} |"]
    lines += ["|" + "---|" * (len(keys) + 2 + len(tuning.seeds))]
    for score in scores:
        point, spread = score.point, score.spread
        values = [str(point.values[key]) for key in keys]
        if spread is None:
            figures = ["failed", *("" for _ in tuning.seeds)]
        else:
            bold = "**" if chosen.get(point.method) == dict(point.values) else ""
            figures = [f"{bold}{spread.mean:.2f}{bold}", *(f"{spread.values[seed]:.2f}" for seed in tuning.seeds)]
        lines.append(f"| {' | '.join([point.method, *values, *figures])} |")
    return "\n".join(lines) + "\n"
