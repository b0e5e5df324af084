"""E_t: an open_clip text tower that also encodes prompts given as token embeddings."""

from typing import Any

import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from pipeline.errors import InputError


class TextEncoder(nn.Module):
    """A causal text transformer of open_clip whose feature is read at the end-of-text token.

    Raises:
        InputError: The tower is of another kind (a Hugging Face text model, an extra class token, ...).
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        plain = isinstance(tower, TextTransformer) and tower.cls_emb is None and tower.attn_mask is not None
        if not plain or tower.pool_type not in ("argmax", "eos"):
            raise InputError(
                f"text tower {type(tower).__name__} is not supported: prompts need CLIP's causal text transformer"
            )
        self.tower: Any = tower

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

    def embed(self, tokens: Tensor) -> Tensor:
        """Token numbers (..., L) -> token embeddings (..., L, width), positions not yet added."""
        embeddings: Tensor = self.tower.token_embedding(tokens)
        return embeddings

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Token numbers (B, L), as the tokenizer pads them -> text features (B, D).

        Positions behind the longest text are cut: the causal mask lets nothing flow back from them.
        """
        end = tokens.argmax(dim=-1)  # the end-of-text token has the largest number of CLIP's vocabulary
        length = int(end.max()) + 1
        return self.encode_embeddings(self.embed(tokens[:, :length]), end)

    def encode_embeddings(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Token embeddings (B, L, width) with end-of-text positions (B,) -> text features (B, D).

        L may be shorter than the model's context: the positional embedding and the causal mask are cut to it.
        """
        tower = self.tower
        length = embeddings.shape[1]
        hidden = embeddings + tower.positional_embedding[:length]
        hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
        hidden = tower.ln_final(hidden)
        last = hidden[torch.arange(len(hidden), device=hidden.device), end]
        if isinstance(tower.text_projection, nn.Linear):
            projected: Tensor = tower.text_projection(last)
            return projected
        features: Tensor = last @ tower.text_projection
        return features
