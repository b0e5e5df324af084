"""The network of SCHP (Li et al., Self-Correction for Human Parsing, 2020): backbone, context, two branches, fusion."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.parsing.schp.backbone import Backbone
from pipeline.parsing.schp.heads import Decoder, EdgeBranch, PyramidPooling, conv_norm


class SchpOutput(NamedTuple):
    """Logits at a quarter of the input's size.

    Attributes:
        fusion: (batch, classes, height, width), from both branches: what label maps are made of.
        parsing: (batch, classes, height, width), of the parsing branch alone.
        edge: (batch, 2, height, width), of the edge branch.
    """

    fusion: Tensor
    parsing: Tensor
    edge: Tensor


class SchpNetwork(nn.Module):
    """The network with fixed statistics in its norms: for inference.

    Names of the heads are those of the published files, ``fushion`` included.

    Args:
        classes: Labels of the scheme.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.context_encoding = PyramidPooling()
        self.edge = EdgeBranch()
        self.decoder = Decoder(classes)
        # dropout sits between the two in training; it has no tensors, but it counts in the published numbering
        self.fushion = nn.Sequential(*conv_norm(256 + 768, 256), nn.Identity(), nn.Conv2d(256, classes, 1))

    def forward(self, images: Tensor) -> SchpOutput:
        """Map normalised BGR images (batch, 3, height, width) to logits."""
        levels = self.backbone(images)
        parsing, parsing_features = self.decoder(self.context_encoding(levels.level4), levels.level1)
        edge, edge_features = self.edge(levels.level1, levels.level2, levels.level3)
        fusion = self.fushion(torch.cat([parsing_features, edge_features], dim=1))
        return SchpOutput(fusion, parsing, edge)
