"""Learnable prompts: one sentence a class, in which only the class's own tokens train (section 3.2 of the paper)."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.errors import InputError
from pipeline.models.text_encoder import TextEncoder
from pipeline.models.tokens import Tokenizer, split_sentence

IDENTITY_TEMPLATE = "A photo of a {} person."
CLOTHES_TEMPLATE = "A photo of {} clothes."
TOKEN_STD = 0.02  # CLIP-ReID's initialisation of the learnable tokens


class PromptLearner(nn.Module):
    """Sentences such as "A photo of a [X]1..[X]M person." with M learnable tokens for each class.

    Args:
        template: The sentence; ``{}`` marks the place of the learnable tokens.
        classes: Number of classes K.
        tokens: M.
        tokenizer: The CLIP's.
        encoder: Gives the embeddings of the sentence's fixed words; it is not kept.
        context_length: Positions that the text encoder has.
        generator: For the initial tokens, N(0, 0.02).

    Raises:
        InputError: The sentence is longer than ``context_length``.
    """

    prefix: Tensor
    suffix: Tensor

    def __init__(
        self,
        template: str,
        classes: int,
        tokens: int,
        *,
        tokenizer: Tokenizer,
        encoder: TextEncoder,
        context_length: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        before, after = (part.strip() for part in template.split("{}"))
        sentence = split_sentence(tokenizer, before, after)
        prefix, suffix = sentence.before, sentence.after
        self.length = len(prefix) + tokens + len(suffix)
        if self.length > context_length:
            raise InputError(
                f"prompts.tokens = {tokens} makes a prompt of {self.length} tokens, "
                f"but the text encoder takes {context_length}"
            )
        if not encoder.ignores_padding:  # the padding is seen, and is a part of the prompt
            suffix = torch.cat([suffix, suffix.new_full((context_length - self.length,), sentence.padding)])
        with torch.no_grad():
            self.register_buffer("prefix", encoder.embed(prefix.to(encoder.device)), persistent=False)
            self.register_buffer("suffix", encoder.embed(suffix.to(encoder.device)), persistent=False)
        self.context = nn.Parameter(torch.randn(classes, tokens, encoder.width, generator=generator) * TOKEN_STD)

    def forward(self, labels: Tensor) -> Tensor:
        """Class numbers (B,) -> token embeddings (B, L, width); the end-of-text token is the last but for padding."""
        context = self.context[labels]
        count = len(labels)
        return torch.cat(
            [self.prefix.expand(count, -1, -1), context, self.suffix.expand(count, -1, -1)],
            dim=1,
        )

    def _encode_some(self, encoder: TextEncoder, labels: Tensor) -> Tensor:
        end = torch.full((len(labels),), self.length - 1, device=labels.device)
        return encoder.encode_embeddings(self(labels), end)

    def encode(self, encoder: TextEncoder, labels: Tensor, chunk: int = 256) -> Tensor:
        """Class numbers (B,) -> text features (B, D), with gradients.

        More than ``chunk`` classes go through the encoder in parts, whose inner activations are computed again in the
        backward pass instead of being kept: memory grows with ``chunk``, not with B.
        """
        parts = torch.split(labels, chunk)
        if len(parts) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._encode_some(encoder, part) for part in parts])
        return torch.cat([checkpoint(self._encode_some, encoder, part, use_reentrant=False) for part in parts])

    @torch.no_grad()
    def encode_all(self, encoder: TextEncoder, chunk: int = 256) -> Tensor:
        """Text features (K, D) of every class, without gradients, computed ``chunk`` classes at a time."""
        return self.encode(encoder, torch.arange(len(self.context), device=self.context.device), chunk)
