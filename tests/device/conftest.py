"""Tests on a pretended GPU run in a process of their own; the fixture ``cuda`` switches it on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from device_samples import World, make_world
from pretended import Log, pretended_cuda
from pretended.process import Inside, Outside, is_inside


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Inside(config) if is_inside() else Outside(Path(__file__).parent), "pretended cuda")


@pytest.fixture
def cuda() -> Iterator[Log]:
    """There is a GPU until the test ends; the log of what it is asked for."""
    with pretended_cuda() as log:
        yield log


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_clip_config: Path) -> World:
    """Rendered people, their shards, and parameters to train on them in a second."""
    return make_world(tmp_path_factory.mktemp("world"), tiny_clip_config)
