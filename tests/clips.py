"""CLIPs for tests."""

from pathlib import Path
from typing import Any

from pipeline.models.clip import Clip, load_clip
from pipeline.models.settings import ModelSettings


def make_clip(name: str | Path, pretrained: str | Path | None = None, seed: int = 0, **settings: Any) -> Clip:
    """A CLIP by name or configuration, with random weights unless some are named; the settings are the model's."""
    weights = None if pretrained is None else str(pretrained)
    return load_clip(ModelSettings(name=str(name), pretrained=weights, **settings), seed)
