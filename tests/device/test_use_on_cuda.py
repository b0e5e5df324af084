"""What is done with a trained encoder on a pretended GPU: features and figures, the CPU's."""

import json

import numpy as np
import pytest

from pipeline.features.feature_set import read_features


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    world.train("cpu", folder)
    return folder


def extract(world, trained, device, out, *settings):
    words = ("--shards", world.shards, "--checkpoint", trained / "encoder", "--out", out)
    return world.command(device, "extract", *words, settings=settings)


@pytest.mark.parametrize("settings", [(), ("evaluate.flip=true",)])
def test_features(world, trained, tmp_path, settings):
    for device in ("cpu", "cuda"):
        log = extract(world, trained, device, tmp_path / f"{device}.parquet", *settings)
    assert log.kernels
    one, other = (read_features(tmp_path / f"{device}.parquet")[0] for device in ("cpu", "cuda"))
    assert one.image_id.tolist() == other.image_id.tolist()
    np.testing.assert_allclose(other.features, one.features, rtol=0, atol=1e-5)


def test_figures(world, trained, tmp_path):
    found = {}
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        places = ("--shards", world.shards, "--checkpoint", trained / "encoder", "--prompts", trained / "prompts")
        log = world.command(device, "figures", *places, "--out", out)
        found[device] = json.loads((out / "figures.json").read_text())
    assert log.kernels
    assert found["cpu"].keys() == found["cuda"].keys()
    assert_close(found["cuda"], found["cpu"])


def assert_close(one, other):
    """Compare nested numbers."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_close(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_close(left, right)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-3)
    else:
        assert one == other
