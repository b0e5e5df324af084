"""The real library, without which most of these tests cannot run, and small networks of it."""

import pytest

from pipeline.parsing.detectron2 import compat


@pytest.fixture(scope="session")
def library() -> None:
    """Skips where the library is not installed; ``make test`` installs it."""
    if compat.package_folder() is None:
        pytest.skip("detectron2 is not installed: python -m pipeline.parsing.detectron2.install")
    compat.require_library()
