"""A small model for all tests."""

import pytest
from transformers_samples import save_model


@pytest.fixture(scope="session")
def atr_folder(tmp_path_factory):
    """A model with ATR's classes under their public names; not to be changed."""
    return save_model(tmp_path_factory.mktemp("models") / "tiny_clothes")
