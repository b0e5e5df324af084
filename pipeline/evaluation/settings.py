"""Settings of the section ``evaluate``: features and protocols."""

from pydantic import Field

from pipeline.features.settings import FeatureSettings
from pipeline.settings import SettingsGroup


class RerankSettings(SettingsGroup):
    """The k-reciprocal re-ranking (arXiv 1701.08398); the defaults are the paper's (section 4.1)."""

    rerank: bool = Field(False, description="Also score the k-reciprocal re-ranking (arXiv 1701.08398).")
    rerank_neighbours: int = Field(20, ge=1, description="Size of the neighbourhoods of the re-ranking, k1.")
    rerank_averaged: int = Field(
        6, ge=1, description="Neighbours over which the weights of the re-ranking are averaged, k2; 1: none."
    )
    rerank_lambda: float = Field(0.3, ge=0, le=1, description="Share of the original distance in the re-ranked one.")
    rerank_gigabytes: float = Field(
        4.0, gt=0, description="Most memory for re-ranking, in 10^9 bytes; what may need more is refused."
    )

    def described(self) -> dict[str, float]:
        """What an entry of metrics.json says about the method."""
        return {"k1": self.rerank_neighbours, "k2": self.rerank_averaged, "lambda": self.rerank_lambda}


class EvaluateSettings(RerankSettings, FeatureSettings):
    """Features and protocols."""

    protocols: list[str] | None = Field(None, description="Names of protocols; null: those that the data set defines.")
    bootstrap: int = Field(
        1000, ge=0, description="Resamples of query identities for the 95% intervals; 0: no intervals."
    )
