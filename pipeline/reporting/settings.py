"""Settings of the sections ``report`` and ``figures``."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings import SettingsGroup


class ReportSettings(SettingsGroup):
    """The HTML page."""

    sheet_images: int = Field(12, ge=1, description="Images on the sheet of masks.")
    ranked_queries: int = Field(8, ge=1, description="Queries whose ranked galleries are shown.")
    ranked_depth: int = Field(8, ge=1, description="Gallery items shown per query.")


class FigureSettings(SettingsGroup):
    """The paper's figures of a checkpoint."""

    pairs: int = Field(
        200_000, ge=1, description="Most pairs of each kind whose distances are shown; the rest is left out."
    )
    prompt_images: int = Field(2048, ge=1, description="Most training images that are compared with the prompts.")
    identities: int = Field(10, ge=2, description="Identities on the map: those with the most images.")
    tsne_images: int = Field(1000, ge=5, description="Most images on the map, shared evenly among its identities.")
    perplexity: float = Field(30.0, gt=0, description="Perplexity of t-SNE: about how many neighbours count.")
    ranked_queries: int = Field(6, ge=1, description="Queries whose ranked lists are shown.")
    ranked_depth: int = Field(5, ge=1, description="Gallery items shown per query.")
    maps: Annotated[list[Literal["attention", "rollout", "grad-cam", "gradient"]], Field(min_length=1)] | None = Field(
        None, description="Kinds of attention and gradient maps; null: all that the networks have."
    )
    map_images: int = Field(6, ge=0, description="Queries whose maps are shown.")
    map_queries: int = Field(0, ge=0, description="Most queries whose maps are measured, drawn at random; 0: all.")
    batch_size: int = Field(16, ge=1, description="Images at once where gradients are taken.")
