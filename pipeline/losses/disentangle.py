"""L_dis, equation (15): the raw feature is made unlike its own clothes part."""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.losses.parts import clothes_projection
from pipeline.losses.terms import LossInputs, Term
from pipeline.settings import SettingsGroup

Disentangle = Literal["cos2", "cos", "abs", "as-printed"]


class DisentangleSettings(SettingsGroup):
    """Settings of L_dis."""

    lambda_dis: float = Field(1.0, ge=0, description="lambda_2, the weight of the disentangle loss L_dis (15).")
    disentangle: Disentangle = Field(
        "cos2", description="Form of L_dis (15); cos2 stops at orthogonal, as-printed raises the cosine."
    )


def disentangle_loss(raw: Tensor, clothes: Tensor, form: Disentangle = "cos2") -> Tensor:
    """Mean over the batch of a function of cos(f, f^c); f^c is detached, so only E_v is moved.

    The text of the paper asks for dissimilarity, while minimising the printed (15) raises the cosine. ``cos2`` (the
    default) stops at orthogonal, ``abs`` too but with a constant pull, ``cos`` goes on to opposite directions, and
    ``as-printed`` is the formula of the paper: - cos.

    Args:
        raw: f, (B, C).
        clothes: f^c = f Proj_c, (B, C).
        form: See above.

    Returns:
        A scalar.
    """
    cosine = F.cosine_similarity(raw, clothes.detach(), dim=1)
    if form == "cos2":
        return cosine.pow(2).mean()
    if form == "abs":
        return cosine.abs().mean()
    return cosine.mean() if form == "cos" else -cosine.mean()


def _from_own_clothes(inputs: LossInputs) -> Tensor | None:
    dressed = inputs.dressed()
    if dressed is None:
        return None
    raw = inputs.features.projected[dressed]
    clothes = inputs.parts["clothes_projection"](raw.detach())
    return disentangle_loss(raw, clothes, inputs.settings_as(DisentangleSettings).disentangle)


SETTINGS = DisentangleSettings
TERMS = {
    "disentangle": Term(
        _from_own_clothes,
        needs=frozenset({"clothes_classes"}),
        parts={"clothes_projection": clothes_projection},
        weight="lambda_dis",
    )
}
