"""All parameters: frozen, typed, checked. ``params.yaml`` holds one section for each model below.

Defaults are the paper's (arXiv 2406.09198) where it states them; ``params.yaml`` of the repository is the small setting
of the embedded demo. A class of the library never takes one of these models: it takes plain keyword arguments.
"""

from pipeline.config.inputs import (
    DataParameters,
    LoadingParameters,
    ModelParameters,
    ParseParameters,
    PretrainParameters,
    SynthParameters,
)
from pipeline.config.parameters import Parameters
from pipeline.config.reading import (
    build_parameters,
    load_parameters,
    one_line,
    read_overrides,
    read_parameter_tree,
)
from pipeline.config.results import EvaluateParameters, FigureParameters, LeakageParameters, ReportParameters
from pipeline.config.training import EncoderParameters, PromptParameters, TrainingParameters
from pipeline.settings import Section

__all__ = [
    "DataParameters",
    "EncoderParameters",
    "EvaluateParameters",
    "FigureParameters",
    "LeakageParameters",
    "LoadingParameters",
    "ModelParameters",
    "Parameters",
    "ParseParameters",
    "PretrainParameters",
    "PromptParameters",
    "ReportParameters",
    "Section",
    "SynthParameters",
    "TrainingParameters",
    "build_parameters",
    "load_parameters",
    "one_line",
    "read_overrides",
    "read_parameter_tree",
]
