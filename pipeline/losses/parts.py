"""Learned parts that terms of several files share."""

import torch

from pipeline.losses.terms import Dimensions
from pipeline.models.heads import ClothesProjection


def clothes_projection(dimensions: Dimensions, generator: torch.Generator) -> ClothesProjection:
    """Proj_c of section 3.3: every term that names it shares the one matrix."""
    return ClothesProjection(dimensions.projected, generator)
