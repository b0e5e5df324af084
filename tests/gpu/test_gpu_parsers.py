"""Parsers on the GPU label pixels as on the CPU, alone and in the parse stage."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu_samples import LABELS, need_cuda, settings, short_name, tf32

from pipeline.labels import LIP
from pipeline.parsing.lite.backend import create_lite
from pipeline.parsing.parser import Parsing
from pipeline.parsing.schp.backend import SchpParser
from pipeline.parsing.schp.network import SchpNetwork
from pipeline.parsing.schp.transform import normalise, warp_to_input
from pipeline.shards.reader import ShardReader
from stages.cli import run

PICTURES = 4
SIZES = {True: 65, False: 473}
"""Input of SCHP: of a small check, and the published one."""
CLEARLY = 0.1
"""How far ahead a label is, in standard deviations of the logits, where rounding must not change it."""


@pytest.fixture(scope="module")
def pictures(shards: Path) -> list[np.ndarray]:
    """Rendered people."""
    reader = ShardReader(shards)
    return [reader.image(row) for row in range(0, len(reader), len(reader) // PICTURES)][:PICTURES]


@pytest.fixture(scope="module")
def schp(pictures: list[np.ndarray]) -> SchpNetwork:
    """Random weights; the last layer is evened out, else one class would win everywhere."""
    torch.manual_seed(0)
    network = SchpNetwork(len(LIP.labels)).eval().requires_grad_(False)
    inputs = torch.stack([torch.from_numpy(warp_to_input(picture, 65)) for picture in pictures])
    logits = network(normalise(inputs)).fusion
    last = network.fushion[-1]
    spread = 3 / logits.std((0, 2, 3))
    last.bias.copy_((last.bias - logits.mean((0, 2, 3))) * spread)
    last.weight.mul_(spread[:, None, None, None])
    return network


def agreement(found: list, expected: list) -> float:
    """Share of pixels with equal labels; every image must have been parsed."""
    assert all(isinstance(parsing, Parsing) for parsing in (*found, *expected))
    pairs = zip(found, expected, strict=True)
    return float(np.mean([np.mean(one.label_map == other.label_map) for one, other in pairs]))


@pytest.mark.parametrize("numbers", ["fp32", "tf32"])
def test_lite_labels_pixels_as_on_the_cpu(pictures, device, numbers):
    need_cuda(device, numbers)
    expected = create_lite("cpu").parse(pictures)
    with tf32(numbers == "tf32"):
        found = create_lite(device).parse(pictures)
    assert min(len(np.unique(parsing.label_map)) for parsing in expected) >= 3
    assert agreement(found, expected) >= LABELS[numbers]
    assert max(abs(one.confidence - other.confidence) for one, other in zip(found, expected, strict=True)) < 1e-2


def schp_parser(network: SchpNetwork, size: int, device: str, precision: str = "fp32") -> SchpParser:
    return SchpParser(deepcopy(network), size, LIP, device, precision=precision)


def test_schp_labels_pixels_as_on_the_cpu(checks, schp, pictures, device):
    expected = schp_parser(schp, SIZES[checks.small], "cpu").parse(pictures)
    with tf32(False):
        found = schp_parser(schp, SIZES[checks.small], device).parse(pictures)
    assert min(len(np.unique(parsing.label_map)) for parsing in expected) >= 3
    assert agreement(found, expected) >= LABELS["fp32"]


@pytest.mark.parametrize("numbers", list(LABELS))
def test_schp_has_the_labels_of_the_cpu_where_one_is_clearly_ahead(checks, schp, pictures, device, numbers):
    """Random weights leave many pixels undecided between two labels, as trained ones do not; rounding decides those."""
    need_cuda(device, numbers)
    size = SIZES[checks.small]
    inputs = torch.stack([torch.from_numpy(warp_to_input(picture, size)) for picture in pictures])
    expected = schp_parser(schp, size, "cpu")._logits(inputs)
    with tf32(numbers == "tf32"):
        found = schp_parser(schp, size, device, short_name(numbers))._logits(inputs).cpu()
    first, second = expected.topk(2, dim=1).values.unbind(1)
    clear = first - second > CLEARLY * expected.std()
    assert clear.float().mean() > 0.5
    share = float((found.argmax(1) == expected.argmax(1))[clear].float().mean())
    print(f"{float(clear.float().mean()):.3f} of the pixels are clear, {share:.5f} of them have equal labels")
    assert share >= LABELS[numbers]


def test_the_parse_stage_on_the_device_makes_the_shards_of_the_cpu(walkers, shards, device, tmp_path):
    """Real workers on Ray; on a GPU two of them share it."""
    out = tmp_path / "shards"
    more = settings(f"device={device}", "parse.gpus_per_worker=0.5", "parse.shard_rows=32")
    assert run(["parse", *walkers, *more, "--out", str(out), "--workers", "2"]) == 0
    expected, found = ShardReader(shards), ShardReader(out)
    assert found.ids.image_id.tolist() == expected.ids.image_id.tolist()
    shares = [np.mean(found.label_map(row) == expected.label_map(row)) for row in range(len(expected))]
    assert np.mean(shares) >= LABELS["fp32"]


def test_pixels_of_another_picture_do_not_agree(pictures):
    """The comparison itself."""
    parsings = create_lite("cpu").parse(pictures)
    assert agreement(parsings, parsings[::-1]) < min(LABELS.values())
