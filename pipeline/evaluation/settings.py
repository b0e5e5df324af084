"""Settings of the section ``evaluate``: features and protocols."""

from pydantic import Field

from pipeline.features.settings import FeatureSettings
from pipeline.settings import SettingsGroup


class RerankSettings(SettingsGroup):
    """The k-reciprocal re-ranking (arXiv 1701.08398); the defaults are the paper's (section 4.1)."""

    rerank: bool = Field(False, description="score the k-reciprocal re-ranking (arXiv 1701.08398) as well")
    rerank_neighbours: int = Field(20, ge=1, description="size of its neighbourhoods, k1")
    rerank_averaged: int = Field(6, ge=1, description="neighbours over which its weights are averaged, k2; 1: none")
    rerank_lambda: float = Field(0.3, ge=0, le=1, description="share of the original distance")
    rerank_gigabytes: float = Field(4.0, gt=0, description="re-ranking that may need more memory is refused")

    def described(self) -> dict[str, float]:
        """What an entry of metrics.json says about the method."""
        return {"k1": self.rerank_neighbours, "k2": self.rerank_averaged, "lambda": self.rerank_lambda}


class EvaluateSettings(RerankSettings, FeatureSettings):
    """Features and protocols."""

    protocols: list[str] | None = Field(None, description="names of protocols; null: those that the data set defines")
    bootstrap: int = Field(1000, ge=0, description="resamples of query identities for the 95% intervals; 0: none")
