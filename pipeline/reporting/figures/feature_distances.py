"""Figure 6 of the paper: distances of test features within one person and between people.

Where there are clothes ids, pairs of one person are told apart by whether the clothes are the same: if features follow
the clothes, the two lie apart.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.features.feature_set import FeatureSet
from pipeline.reporting.figures.drawing import distributions
from pipeline.reporting.figures.pairs import Pairs, cosine_distances
from pipeline.reporting.figures.section import Plot, Section, Table, distance, number
from pipeline.reporting.figures.separation import Distances, Separation, Spread, separation, spread

KINDS = {
    "same_clothes": "same person, same clothes",
    "other_clothes": "same person, other clothes",
    "same_person": "same person",
    "different": "different people",
}
"""Kinds of pairs and their names, in the order of the picture."""


@dataclass(frozen=True)
class FeatureDistances:
    """Distances of one checkpoint's features.

    Attributes:
        distances: By kind, cosine distances, those kinds only that have pairs.
        spreads: By kind, their summary.
        separations: By kind of one person's pairs, how they lie to those of different people.
    """

    distances: dict[str, Distances]
    spreads: dict[str, Spread]
    separations: dict[str, Separation]


def feature_distances(items: FeatureSet, pairs: Pairs) -> FeatureDistances:
    """Distances of drawn pairs; the same pairs serve every checkpoint.

    Args:
        items: L2-normalised features.
        pairs: Positions in ``items``.
    """
    found = {kind: cosine_distances(items.features, getattr(pairs, kind)) for kind in KINDS}
    found = {kind: values for kind, values in found.items() if len(values)}
    far = found.get("different")
    return FeatureDistances(
        distances=found,
        spreads={kind: spread(values) for kind, values in found.items()},
        separations={
            kind: separation(values, far) for kind, values in found.items() if far is not None and kind != "different"
        },
    )


def feature_section(of: Mapping[str, FeatureDistances], pairs: Pairs) -> Section:
    """The figure: a plot and a table for each checkpoint.

    Args:
        of: By name of the checkpoint.
        pairs: That were drawn.
    """
    plots, files, rows = [], {}, []
    for number_of, (name, item) in enumerate(of.items()):
        shown = [kind for kind in KINDS if kind in item.distances and not (kind == "same_person" and _told(item))]
        low = min(float(item.distances[kind].min()) for kind in shown)
        high = max(float(item.distances[kind].max()) for kind in shown)
        drawing = distributions(
            f"{name}: distances of test features",
            [(KINDS[kind], item.distances[kind]) for kind in shown],
            (low, high),  # each its own: the distances of one network may be a hundredth of another's
            "cosine distance",
        )
        plots.append(Plot(name, "cosine distances of pairs of test images", drawing.page))
        files[f"feature-distances-{number_of + 1}.svg"] = drawing.file
        rows += [_row(name, kind, item) for kind in KINDS if kind in item.distances]
    cameras = "Pairs of one camera are left out, as the protocols do. " if pairs.other_camera else ""
    return Section(
        notes=(
            f"Cosine distances between query and gallery images. {cameras}The same pairs serve every checkpoint; where "
            f"there are very many they are drawn at random.",
            "Each plot has its own axis: what counts is how the hills lie to each other. AUC: chance that a pair of "
            "one person is nearer than a pair of different people, 0.5 if they are not told apart. d′: distance of the "
            "means in standard deviations. Overlap: area that the two histograms share.",
        ),
        numbers={
            name: {"distances": _plain(item.spreads), "against_different_people": _plain(item.separations)}
            for name, item in of.items()
        },
        plots=tuple(plots),
        tables=(
            Table(("checkpoint", "pairs of", "pairs", "mean", "5–95 %", "AUC", "d′", "overlap"), tuple(rows), words=2),
        ),
        files=files,
    )


def _told(item: FeatureDistances) -> bool:
    return "same_clothes" in item.distances or "other_clothes" in item.distances


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: asdict(value) for kind, value in values.items()}


def _row(name: str, kind: str, item: FeatureDistances) -> tuple[str, ...]:
    summary, apart = item.spreads[kind], item.separations.get(kind)
    figures = ("", "", "") if apart is None else (number(apart.auc), number(apart.d_prime, 2), number(apart.overlap, 2))
    ends = f"{distance(summary.low)} – {distance(summary.high)}"
    return (name, KINDS[kind], f"{summary.count:,}", distance(summary.mean), ends, *figures)
