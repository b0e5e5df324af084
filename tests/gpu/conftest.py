"""Checks of a real GPU: ``pytest -m gpu tests/gpu``, or ``make gpu-check``. Without CUDA they are skipped, and say so.

``CCAF_TEST_DEVICE`` names the device, ``cuda`` where it is not set. On another device than a real GPU the checks run on
small networks, and show only that they themselves work; one of the project's ordinary tests does that.
``CCAF_TEST_SMALL`` takes small networks on CUDA as well, and ``CCAF_TEST_PROGRAM`` is the command that starts
``ccaf-pipeline`` in a process of its own, where it is not this Python.
"""

import os
import shlex
import sys
from pathlib import Path

import pytest
import torch
from gpu_samples import Checks, reference_clip, settings

from stages.cli import run

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, before the first matrix product on a GPU

FOLDER = Path(__file__).parent
DEVICE = os.environ.get("CCAF_TEST_DEVICE", "cuda")
NOT_ASKED_FOR = "checks of a real GPU run by `make gpu-check` (pytest -m gpu) only"
NO_GPU = "NO GPU WAS CHECKED: PyTorch finds no CUDA device here; run `make gpu-check` on a machine that has one"

TINY_MODEL = [
    "device=cpu", "threads=1", "model.name=walker-clip", "model.pretrained=null", "model.image_size=[64,32]",
    "prompts.epochs=2", "prompts.batch_size=16", "prompts.similarity=cosine", "prompts.learning_rate=0.003",
    "encoder.identities_per_batch=4", "encoder.images_per_identity=4", "encoder.similarity=cosine",
    "encoder.learning_rate=0.0005", "encoder.pad=2", "evaluate.bootstrap=20",
]  # fmt: skip
WALKERS = [
    "synth.height=64", "synth.train_identities=8", "synth.test_identities=4", "synth.outfits=2",
    "synth.images_per_outfit=4", "synth.cameras=2", "synth.pretrain_images=16",
]  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if FOLDER in item.path.parents]
    reason = None
    if "gpu" not in str(config.getoption("markexpr")):
        reason = NOT_ASKED_FOR
    elif torch.device(DEVICE).type == "cuda" and not torch.cuda.is_available():
        reason = NO_GPU
    for item in ours:
        item.add_marker(pytest.mark.gpu)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device() -> str:
    """The device that is checked."""
    return DEVICE


@pytest.fixture(scope="session")
def checks(device: str) -> Checks:
    """What is compared: the paper's network on a real GPU, a small one elsewhere."""
    real = torch.device(device).type == "cuda" and not os.environ.get("CCAF_TEST_SMALL")
    return Checks(device, reference_clip(small=not real), images=8, small=not real)


@pytest.fixture(scope="session")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words that every command takes: rendered people, a small CLIP of random weights."""
    folder = tmp_path_factory.mktemp("walkers")
    assert run(["synth", "--out", str(folder), "--workers", "1", "--quiet", *settings(*WALKERS)]) == 0
    return ["--dataset", "walkers", "--quiet", *settings(*TINY_MODEL, f"data.root={folder}")]


@pytest.fixture(scope="session")
def shards(walkers: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walkers as the packaged parser sees them on a CPU."""
    folder = tmp_path_factory.mktemp("shards") / "cpu"
    assert run(["parse", *walkers, "--out", str(folder), "--workers", "1"]) == 0
    return folder


@pytest.fixture(scope="session")
def program() -> list[str]:
    """The words that start the command line in a process of its own."""
    given = os.environ.get("CCAF_TEST_PROGRAM")
    return shlex.split(given) if given else [sys.executable, "-m", "stages"]
