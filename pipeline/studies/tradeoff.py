"""What is paid for finding people in other clothes: cloth-changing against same-clothes figures of all methods."""

from dataclasses import dataclass

from pipeline.reporting.figures.drawing import Drawing, Trail, trails
from pipeline.studies.table import Table, is_cloth_changing

METRIC = "mAP"


@dataclass(frozen=True)
class Tradeoff:
    """Mean figures of a study's methods under two protocols.

    Attributes:
        same: The same-clothes protocol, across.
        changing: The cloth-changing one, up.
        lines: A line for each sweep, a mark for each other method.
    """

    same: str
    changing: str
    lines: tuple[Trail, ...]


def is_same_clothes(protocol: str) -> bool:
    """Whether a protocol's name says so: ``sc``, ``prcc:sc:multi-shot``."""
    return "sc" in protocol.split(":")


def find_tradeoff(table: Table) -> Tradeoff | None:
    """The trade of a table.

    The first protocol of each kind counts. A method stands in a sweep where one of its values is the method's own.

    Returns:
        None where the table lacks one of the two protocols, or has no trained method with both figures.
    """
    protocols = list(dict.fromkeys(measure.group for measure in table.scores))
    same = next(filter(is_same_clothes, protocols), None)
    changing = next(filter(is_cloth_changing, protocols), None)
    if same is None or changing is None:
        return None

    def point(row: str, label: str) -> tuple[tuple[float, float, str], ...]:
        figures = table.line(row).figures
        across, up = figures.get((same, METRIC)), figures.get((changing, METRIC))
        return () if across is None or up is None else ((across.mean, up.mean, label),)

    found = []
    swept = set()
    for sweep in table.plan.sweeps:
        points = sum((point(row, f"{value}") for value, row in sweep.points), ())
        swept |= {_runs_of(table, row) for _, row in sweep.points}
        name = sweep.parameter.rpartition(".")[2]
        found.append(Trail(f"{sweep.method} by {name}", points))
    rows = [line.row for line in table.lines if line.row.kind in ("frozen", "method")]
    found += [Trail(row.name, point(row.name, "")) for row in rows if _runs_of(table, row.name) not in swept]
    lines = tuple(trail for trail in found if trail.points)
    return Tradeoff(same, changing, lines) if lines else None


def _runs_of(table: Table, row: str) -> frozenset[str]:
    return frozenset(run.metrics for run in table.line(row).row.runs.values())


def draw_tradeoff(found: Tradeoff) -> Drawing:
    """The figure: mean over the seeds, in percent."""
    title = f"{found.changing} against {found.same} {METRIC}, in percent"
    return trails(title, found.lines, f"{found.same} {METRIC}", f"{found.changing} {METRIC}")
