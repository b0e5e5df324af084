"""Scores on examples whose targets are those of ``targets.py``: LIP's labels, and wider ones for undecided pixels."""

from collections.abc import Sequence
from typing import Final

from pipeline.labels import LIP
from pipeline.parsing.lite.targets import IGNORE, SOME_CLOTHES
from pipeline.parsing.parser import Parser
from pipeline.parsing.scoring import evaluation
from pipeline.parsing.scoring.crops import Example
from pipeline.parsing.scoring.evaluation import Scores
from pipeline.parsing.scoring.ground_truth import TruthScheme


def target_scheme(clothes: frozenset[int] | None = None) -> TruthScheme:
    """The targets' scheme; garments of an undecided kind are clothes, whichever LIP labels are (None: the default)."""
    return TruthScheme(
        LIP.name,
        LIP.labels,
        (LIP.clothes if clothes is None else clothes) | {SOME_CLOTHES},
        nobody=frozenset({0, IGNORE}),
    )


TARGET_SCHEME: Final = target_scheme()


def score(
    parser: Parser, examples: Sequence[Example], clothes: frozenset[int] | None = None, batch_size: int = 16
) -> Scores:
    """As :func:`pipeline.parsing.scoring.evaluation.score`, of a parser with LIP's labels."""
    return evaluation.score(parser, examples, target_scheme(clothes), clothes, batch_size)
