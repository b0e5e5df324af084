"""The groups of parameters that the figures are made by."""

from dataclasses import dataclass

from pipeline.evaluation.settings import EvaluateSettings
from pipeline.models.settings import ModelSettings
from pipeline.reporting.settings import FigureSettings
from pipeline.shards.settings import LoadingSettings


@dataclass(frozen=True)
class FigureGroups:
    """What decides the figures, besides their inputs.

    Attributes:
        model: The CLIP that ``frozen`` stands for, and that prompts were learned with.
        loading: How images come from the shards.
        evaluate: How features are made, which protocols rank them, and the resamples of intervals.
        figures: The figures' own.
        seed: Of every random choice.
    """

    model: ModelSettings
    loading: LoadingSettings
    evaluate: EvaluateSettings
    figures: FigureSettings
    seed: int
