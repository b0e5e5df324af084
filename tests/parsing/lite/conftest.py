"""Fixtures of the embedded parser's tests."""

from pathlib import Path

import pytest
import torch
from lite_samples import SMALL, write_ccp, write_walkers

from pipeline.parsing.lite.checkpoint import save_lite


@pytest.fixture
def ccp_folder(tmp_path: Path) -> Path:
    write_ccp(tmp_path / "ccp", [1, 2, 3, 4, 5, 10])
    return tmp_path / "ccp"


@pytest.fixture
def walkers_folder(tmp_path: Path) -> Path:
    for split, count in (("train", 5), ("query", 2), ("gallery", 2)):
        write_walkers(tmp_path / "walkers", split, count)
    return tmp_path / "walkers"


@pytest.fixture
def small_weights(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    network = SMALL.build()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training: statistics that are not 0 and 1
            torch.nn.init.uniform_(module.get_buffer("running_mean"), -0.3, 0.3)
            torch.nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2.0)
        elif isinstance(module, torch.nn.Conv2d):  # as after training: labels that differ between positions
            torch.nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    path = tmp_path / "small.safetensors"
    save_lite(path, network, SMALL)
    return path
