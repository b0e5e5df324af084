"""Linear classifiers of the factors that help CLIP pre-training along; they are thrown away with it.

A phrase can only attract what the image encoder already tells apart, and a small transformer that starts from random
weights tells nothing apart for a long time. Classifiers with weights of their own show it what to look for from the
first step: on the image feature, and on the rows of the patch grid, where people's heads, trunks and legs have their
places (deep supervision: Lee et al. 2015).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.image_encoder import ImageEncoder, TransformerEncoder
from pipeline.models.positions import waves
from pipeline.training.pretrain_data import FactorPhrases

POSITION_SCALE = 0.5


def start_positions(encoder: ImageEncoder, grid: tuple[int, int]) -> None:
    """Let a transformer's position embedding start from smooth waves, so that it tells places apart at once."""
    if isinstance(encoder, TransformerEncoder):
        positions = encoder.tower.positional_embedding
        with torch.no_grad():
            positions[1:] = POSITION_SCALE * waves(grid, positions.shape[1])


class Guides(nn.Module):
    """Linear classifiers of all factors on an encoder's image feature and, of a transformer, on its patch rows.

    Args:
        encoder: What is watched, see :meth:`watch`.
        grid: Height and width of its patch grid.
        factors: In the order of the logits.
    """

    def __init__(self, encoder: ImageEncoder, grid: tuple[int, int], factors: Sequence[FactorPhrases]) -> None:
        super().__init__()
        self._sizes = [len(factor.phrases) for factor in factors]
        self.on_feature = nn.Linear(encoder.projected_dim, sum(self._sizes))
        self.on_rows: nn.Linear | None = None
        self._patches: Tensor | None = None
        if isinstance(encoder, TransformerEncoder):
            self.on_rows = nn.Linear(grid[0] * encoder.earlier_dim, sum(self._sizes))

    @contextmanager
    def watch(self, encoder: ImageEncoder) -> Iterator[None]:
        """Keep the patches that the encoder makes inside the block, for :meth:`forward`."""
        if self.on_rows is None:
            yield
            return
        hook = encoder.tower.conv1.register_forward_hook(self._keep)
        try:
            yield
        finally:
            hook.remove()

    def _keep(self, module: nn.Module, inputs: object, patches: Tensor) -> None:
        self._patches = patches

    def forward(self, features: Tensor) -> list[list[Tensor]]:
        """Logits of each factor, (B, values), by each set; ``features`` (B, D) were made under :meth:`watch`."""
        logits = [self.on_feature(features)]
        if self.on_rows is not None and self._patches is not None:
            rows = F.relu(self._patches).mean(dim=3).flatten(1)
            logits.append(self.on_rows(rows))
            self._patches = None
        return [list(torch.split(part, self._sizes, dim=1)) for part in logits]
