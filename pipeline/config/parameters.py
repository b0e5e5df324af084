"""All sections together: what ``params.yaml`` holds."""

from pydantic import Field

from pipeline.config.inputs import (
    DataParameters,
    LoadingParameters,
    ModelParameters,
    ParseParameters,
    PretrainParameters,
    SynthParameters,
)
from pipeline.config.results import EvaluateParameters, FigureParameters, LeakageParameters, ReportParameters
from pipeline.config.training import EncoderParameters, PromptParameters, TrainingParameters
from pipeline.settings import Section


class Parameters(Section):
    """Everything in ``params.yaml``."""

    seed: int = Field(0, ge=0, description="root of every random choice")
    device: str = Field("auto", description="auto (CUDA where present, else CPU), cpu, cuda, cuda:1, ...")
    threads: int = Field(0, ge=0, description="CPU threads of the networks; 0: as torch decides")
    data: DataParameters = DataParameters()
    synth: SynthParameters = SynthParameters()
    model: ModelParameters = ModelParameters()
    pretrain: PretrainParameters = PretrainParameters()
    parse: ParseParameters = ParseParameters()
    loading: LoadingParameters = LoadingParameters()
    prompts: PromptParameters = PromptParameters()
    encoder: EncoderParameters = EncoderParameters()
    training: TrainingParameters = TrainingParameters()
    evaluate: EvaluateParameters = EvaluateParameters()
    leakage: LeakageParameters = LeakageParameters()
    report: ReportParameters = ReportParameters()
    figures: FigureParameters = FigureParameters()
