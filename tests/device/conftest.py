"""Tests on a pretended GPU run in a process of their own; the fixture ``cuda`` switches it on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from device_samples import World, make_world
from pretended import Log, pretended_cuda
from pretended.process import Inside, Outside, is_inside

from pipeline.trainer import distributed


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


class _Sent:
    """What NCCL gives for a message: to wait for it is the GPU's business, not the CPU's."""

    def wait(self) -> None:
        pass


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This process is the first of two ranks whose other has what this one has; the messages of both, by name."""
    messages: list[str] = []

    def all_reduce(tensor: torch.Tensor, async_op: bool = False) -> _Sent:
        messages.append("all_reduce")
        assert async_op, "a step waits for nobody"
        tensor.mul_(2)
        return _Sent()

    def all_gather(parts: list[torch.Tensor], tensor: torch.Tensor) -> None:
        messages.append("all_gather")
        for part in parts:
            part.copy_(tensor)

    for function in (all_reduce, all_gather):
        monkeypatch.setattr(distributed.dist, function.__name__, function)
    for name in ("broadcast", "broadcast_object_list"):  # this rank's are the first one's
        monkeypatch.setattr(distributed.dist, name, lambda *_, **__: None)
    return messages
