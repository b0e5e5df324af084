"""Parsers on the GPU label pixels as on the CPU, alone and in the parse stage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import settings
from gpu_samples import LABELS, need_cuda, short_name, tf32

from pipeline.images import decode_image
from pipeline.parsing.lite.backend import create_lite
from pipeline.parsing.parser import Parsing
from pipeline.parsing.schemes import LIP
from pipeline.parsing.schp.backend import SchpParser
from pipeline.parsing.schp.network import SchpNetwork
from pipeline.shards.reader import ShardReader
from stages.cli import run

PICTURES = 4


@pytest.fixture(scope="session")
def pictures(shards: Path) -> list[np.ndarray]:
    """Rendered people."""
    reader = ShardReader(shards)
    return [decode_image(reader.raw_bytes(row)) for row in range(PICTURES)]


def agreement(found: list, expected: list) -> float:
    """Share of pixels with equal labels; every image must have been parsed."""
    assert all(isinstance(parsing, Parsing) for parsing in (*found, *expected))
    pairs = zip(found, expected, strict=True)
    return float(np.mean([np.mean(one.label_map == other.label_map) for one, other in pairs]))
