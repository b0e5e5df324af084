"""What the figures are of: the head of their page, and the same for programs."""

from collections.abc import Sequence
from typing import Any

from pipeline import __version__
from pipeline.datasets.catalog import DatasetFacts
from pipeline.reporting.figures.groups import FigureGroups
from pipeline.reporting.figures.page import FiguresPage, Part
from pipeline.reporting.figures.subjects import Subject
from pipeline.reporting.origin import Fact
from pipeline.shards.reader import ShardReader


def make_page(
    parts: tuple[Part, ...], subjects: Sequence[Subject], reader: ShardReader, facts: DatasetFacts, seed: int
) -> FiguresPage:
    """The page of some figures."""
    return FiguresPage(
        title=facts.title,
        version=__version__,
        names=tuple(subject.name for subject in subjects) or ("prompts",),
        facts=(
            *(Fact(subject.name, subject.chosen.sha256[:12] or "random weights", True) for subject in subjects),
            Fact("shards", reader.record_sha256[:12], True),
            Fact("seed", str(seed)),
        ),
        parts=parts,
    )


def what_of(
    subjects: Sequence[Subject], reader: ShardReader, facts: DatasetFacts, groups: FigureGroups
) -> dict[str, Any]:
    """What the file of numbers says besides each figure's own."""
    return {
        "dataset": facts.name,
        "shards_sha256": reader.record_sha256,
        "seed": groups.seed,
        "parameters": groups.figures.model_dump(mode="json"),
        "checkpoints": [
            {"name": subject.name, "sha256": subject.chosen.sha256, "method": subject.chosen.method}
            for subject in subjects
        ],
    }
