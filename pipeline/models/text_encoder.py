"""E_t: an open_clip text tower that also encodes prompts given as token embeddings."""

from typing import Any

import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from pipeline.errors import InputError


class TextEncoder(nn.Module):
    """A text transformer of open_clip, CLIP's or SigLIP's.

    CLIP's is causal, and its feature is read at the end-of-text token. SigLIP's sees all positions from all others,
    padding included, and its feature is read at the last one: texts fill its whole context. MobileCLIP's largest read
    theirs at the end-of-text token, and see all positions.

    Raises:
        InputError: The tower is of another kind (a Hugging Face text model, an extra class token, ...).
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        plain = isinstance(tower, TextTransformer) and tower.cls_emb is None and not tower.use_pad_mask
        if not plain or tower.pool_type not in ("argmax", "eos", "last"):
            raise InputError(
                f"text tower {type(tower).__name__} is not supported: prompts need a text transformer of open_clip "
                f"without class token, such as CLIP's or SigLIP's"
            )
        self.tower: Any = tower

    @property
    def ignores_padding(self) -> bool:
        """Whether a position sees those before it only, so that padding behind a text may be left out."""
        return self.tower.attn_mask is not None and self.tower.pool_type != "last"

    @property
    def width(self) -> int:
        """Channels of a token embedding."""
        return int(self.tower.width)

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        device: torch.device = self.tower.token_embedding.weight.device
        return device

    @property
    def context_length(self) -> int:
        """Positions that the transformer has."""
        return int(self.tower.context_length)

    @property
    def vocabulary(self) -> int:
        """Tokens that it has embeddings for."""
        return int(self.tower.token_embedding.num_embeddings)

    def embed(self, tokens: Tensor) -> Tensor:
        """Token numbers (..., L) -> token embeddings (..., L, width), positions not yet added."""
        embeddings: Tensor = self.tower.token_embedding(tokens)
        return embeddings

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Token numbers (B, L), as the tokenizer pads them -> text features (B, D).

        Of a causal tower positions behind the longest text are cut: the mask lets nothing flow back from them.
        """
        end = self._ends(tokens)
        length = int(end.max()) + 1 if self.ignores_padding else tokens.shape[1]
        return self.encode_embeddings(self.embed(tokens[:, :length]), end)

    def _ends(self, tokens: Tensor) -> Tensor:
        """Where the end-of-text token stands, which has the largest number of CLIP's vocabulary."""
        marks = (tokens == self.tower.eos_id).int() if self.tower.pool_type == "eos" else tokens
        return marks.argmax(dim=-1)

    def encode_embeddings(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Token embeddings (B, L, width) with end-of-text positions (B,) -> text features (B, D).

        L may be shorter than the context of a causal tower: positional embedding and mask are cut to it. Others need
        the padding too. Where the feature is read at the last position, ``end`` counts for nothing.
        """
        tower = self.tower
        length = embeddings.shape[1]
        mask = None if tower.attn_mask is None else tower.attn_mask[:length, :length]
        hidden = embeddings + tower.positional_embedding[:length]
        hidden = tower.transformer(hidden, attn_mask=mask)
        hidden = tower.ln_final(hidden)
        if tower.pool_type == "last":
            end = torch.full_like(end, length - 1)
        last = hidden[torch.arange(len(hidden), device=hidden.device), end]
        if tower.text_projection is None:
            plain: Tensor = last
            return plain
        if isinstance(tower.text_projection, nn.Linear):
            projected: Tensor = tower.text_projection(last)
            return projected
        features: Tensor = last @ tower.text_projection
        return features
