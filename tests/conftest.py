"""Fixtures that several folders of tests share."""

import json
import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA_VARIABLE = "CCAF_TEST_DATA"


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Folder of real photographs; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get(REAL_DATA_VARIABLE, REPOSITORY.parent / "shared" / "data"))
    if not (folder / "pku_reid_74").is_dir():
        pytest.skip(f"real images not found: set ${REAL_DATA_VARIABLE} to the folder that holds pku_reid_74")
    return folder


TINY_CLIP_CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": [64, 32], "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def tiny_clip_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip configuration, written by a user, of a CLIP that is built in milliseconds (grid 4 x 2)."""
    path = tmp_path_factory.mktemp("configs") / "tiny-clip.json"
    path.write_text(json.dumps(TINY_CLIP_CONFIG))
    return path


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny tensors are slower with more threads, and the tests may run in parallel processes."""
    torch.set_num_threads(1)
