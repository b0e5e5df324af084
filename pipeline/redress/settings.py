"""Which clothes are changed, and how: kinds of outfits, regions of garments, and redressed views of stage 2."""

from typing import Literal, get_args

from pydantic import Field

from pipeline.garments import CLOTHES, Region
from pipeline.settings import SettingsGroup

Kind = Literal["colour", "texture", "donor"]
"""colour: plain garments of another colour; texture: some have stripes, checks, plaid or a print; donor: the colours
of what somebody else of the data set wears."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class RedressSettings(SettingsGroup):
    """Redressed raw views of stage 2; the shielding view stays as it is."""

    redress: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Chance that an image's raw view wears another outfit; 0: never. The paper has no such views.",
    )
    redress_kinds: tuple[Kind, ...] = Field(
        KINDS,
        min_length=1,
        description="Kinds of outfits, drawn in equal shares: colour (plain), texture (stripes, checks, plaid, print), "
        "donor (the colours that another training image wears).",
    )
    redress_regions: tuple[Region, ...] = Field(
        CLOTHES, min_length=1, description="Garments that are changed: upper, lower, dress, coat, shoes, hat."
    )
    redress_outfits: int = Field(
        8,
        ge=1,
        description="Outfits that the redressed views of one batch share, so that several identities wear the same.",
    )
    redress_classes: Literal["none", "donor"] = Field(
        "none",
        description="Clothes class of a redressed view. none: it has none, so that terms about clothes leave it out; "
        "donor: that of the image whose colours it wears, and none for other kinds.",
    )
