"""A small model for all tests."""

import pytest
from sam3_samples import save_sam3


@pytest.fixture(scope="session")
def sam3_folder(tmp_path_factory):
    """A model; not to be changed."""
    return save_sam3(tmp_path_factory.mktemp("sam3") / "model")
