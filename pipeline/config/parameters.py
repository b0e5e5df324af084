"""All groups of settings together: what ``params.yaml`` holds."""

from pydantic import Field

from pipeline.datasets.settings import DataSettings
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.evaluation.leakage.settings import LeakageSettings
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.models.settings import BlendSettings, ModelSettings
from pipeline.reporting.settings import FigureSettings, ReportSettings
from pipeline.settings import SettingsGroup
from pipeline.shards.making.settings import ParseSettings
from pipeline.shards.settings import LoadingSettings
from pipeline.training.settings import AllEncoderSettings, PretrainSettings, PromptSettings, TrainingSettings


class Parameters(SettingsGroup):
    """Everything in ``params.yaml``."""

    seed: int = Field(0, ge=0, description="Seed from which every random choice is derived.")
    device: str = Field(
        "auto", description="Where the networks run: auto (CUDA if present, else the CPU), cpu, cuda, cuda:1, ..."
    )
    threads: int = Field(0, ge=0, description="CPU threads that the networks use; 0 leaves the number to PyTorch.")
    data: DataSettings = DataSettings()
    synth: SynthSettings = SynthSettings()
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings = PretrainSettings()
    parse: ParseSettings = ParseSettings()
    loading: LoadingSettings = LoadingSettings()
    prompts: PromptSettings = PromptSettings()
    encoder: AllEncoderSettings = AllEncoderSettings()
    training: TrainingSettings = TrainingSettings()
    blend: BlendSettings = BlendSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    leakage: LeakageSettings = LeakageSettings()
    report: ReportSettings = ReportSettings()
    figures: FigureSettings = FigureSettings()
