"""Parameters of what comes after training: features, scores, the report, the paper's figures."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import Section


class EvaluateParameters(Section):
    """Features and protocols."""

    protocols: list[str] | None = Field(None, description="names of protocols; null: those that the data set defines")
    feature: Literal["concat", "projected"] = Field(
        "concat", description="test feature: 768-d and 512-d, or 512-d only"
    )
    flip: bool = Field(False, description="average the feature with that of the mirrored image")
    batch_size: int = Field(128, ge=1, description="images a forward pass")
    bootstrap: int = Field(1000, ge=0, description="resamples of query identities for the 95% intervals; 0: none")
    rerank: bool = Field(False, description="score the k-reciprocal re-ranking (arXiv 1701.08398) as well")
    rerank_neighbours: int = Field(20, ge=1, description="size of its neighbourhoods, k1")
    rerank_averaged: int = Field(6, ge=1, description="neighbours over which its weights are averaged, k2; 1: none")
    rerank_lambda: float = Field(0.3, ge=0, le=1, description="share of the original distance")
    rerank_gigabytes: float = Field(4.0, gt=0, description="re-ranking that may need more memory is refused")


class LeakageParameters(Section):
    """Linear probes of clothes and identity on frozen test features."""

    folds: int = Field(5, ge=2, description="folds by person; nobody is in both parts of a probe")
    penalty: float = Field(0.01, gt=0, description="L2 penalty of the logistic regression on standardised features")
    images_per_outfit: int = Field(
        40, ge=2, description="images of one person in one outfit that probes within identities use at the most"
    )


class ReportParameters(Section):
    """The HTML page."""

    sheet_images: int = Field(12, ge=1, description="images on the sheet of masks")
    ranked_queries: int = Field(8, ge=1, description="queries whose ranked galleries are shown")
    ranked_depth: int = Field(8, ge=1, description="gallery items shown a query")


class FigureParameters(Section):
    """The paper's figures of a checkpoint."""

    pairs: int = Field(
        200_000, ge=1, description="most pairs of a kind whose distances are shown; the rest is left out"
    )
    prompt_images: int = Field(2048, ge=1, description="most training images that are compared with the prompts")
    identities: int = Field(10, ge=2, description="identities on the map, those with the most images")
    tsne_images: int = Field(1000, ge=5, description="most images on the map, shared evenly by its identities")
    perplexity: float = Field(30.0, gt=0, description="of t-SNE, about how many neighbours count")
    ranked_queries: int = Field(6, ge=1, description="queries whose ranked lists are shown")
    ranked_depth: int = Field(5, ge=1, description="gallery items shown a query")
    maps: Annotated[list[Literal["attention", "rollout", "grad-cam", "gradient"]], Field(min_length=1)] | None = Field(
        None, description="kinds of attention and gradient maps; null: all that the networks have"
    )
    map_images: int = Field(6, ge=0, description="queries whose maps are shown")
    map_queries: int = Field(0, ge=0, description="most queries whose maps are measured, drawn at random; 0: all")
    batch_size: int = Field(16, ge=1, description="images at once where gradients are taken")
