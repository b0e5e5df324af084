"""What is done with a trained encoder on a pretended GPU: features and figures, the CPU's."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from clips import make_clip

from pipeline.features.embedding import Encoder
from pipeline.features.encoders import trained_encoder
from pipeline.features.extraction import RESULTS_AHEAD, encode_images
from pipeline.features.feature_set import read_features
from pipeline.features.image_list import list_inputs
from pipeline.features.parts import embed_list
from pipeline.features.settings import FeatureSettings
from pipeline.shards.reader import ShardReader


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


def test_auto_features_are_bf16_say_so_and_rank_as_the_cpus(world, trained, tmp_path):
    for device in ("cpu", "cuda"):
        extract(world, trained, device, tmp_path / f"{device}.parquet", "evaluate.precision=auto")
    (one, of_cpu), (other, of_cuda) = (read_features(tmp_path / f"{device}.parquet") for device in ("cpu", "cuda"))
    assert "precision" not in of_cpu
    assert of_cuda == {**of_cpu, "precision": "bf16"}
    assert other.features.dtype == np.float32
    cosines = (one.features * other.features).sum(axis=1)
    assert 0.999 < cosines.min() < cosines.max() <= 1.00001
    assert np.abs(one.features - other.features).max() > 1e-5, "it was computed in full"


@pytest.mark.parametrize("flip", [False, True])
def test_a_batch_is_one_copy_and_the_only_wait_is_for_its_result(cuda, tiny_clip_config, flip):
    encoder = make_clip(tiny_clip_config, image_size=(64, 32)).image_encoder.to("cuda")
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (22, 64, 32, 3), dtype=np.uint8))
    with cuda.section() as log:
        found = encode_images(
            encoder, lambda rows: images[list(rows)], range(22), lambda features: features.projected,
            mean=(0.5,) * 3, std=(0.5,) * 3, cameras=[0] * 22, flip=flip, batch_size=4, device="cuda", precision="bf16",
            quiet=True,
        )  # fmt: skip
    assert found.shape[0] == 22
    assert not found.is_cuda
    assert (log.host_to_device, log.blocking_host_to_device, log.device_to_host) == (6, 0, 6)
    assert log.operators("wait") == {"Event.synchronize": 6}
    assert log.waits == 6


def test_embed_asks_for_batches_before_it_waits_for_one(cuda, world, trained, tmp_path, monkeypatch):
    order = []
    plain = Encoder.launch

    def launch(encoder, pixels, cameras):
        number, waits = order.count("launch"), cuda.waits
        taken = plain(encoder, pixels, cameras)
        assert cuda.waits == waits
        order.append("launch")

        def take():
            assert order.count("launch") == min(number + 1 + RESULTS_AHEAD, batches)
            return taken()

        return take

    rows = range(0, len(ShardReader(world.shards)), 4)
    data = [ShardReader(world.shards).encoded(row) for row in rows]
    pq.write_table(pa.table({"image": data}), tmp_path / "held.parquet")
    images, batches = list_inputs([str(tmp_path / "held.parquet")]), -(-len(rows) // 3)
    chosen = trained_encoder(trained / "encoder")
    settings = FeatureSettings(batch_size=3, precision="fp32")
    embed_list(Encoder(chosen, "cpu", settings), images, tmp_path / "cpu.parquet", max_pixels=10**6, quiet=True)
    encoder = Encoder(chosen, "cuda", settings)
    monkeypatch.setattr(Encoder, "launch", launch)
    with cuda.section() as log:
        embed_list(encoder, images, tmp_path / "cuda.parquet", max_pixels=10**6, quiet=True)
    assert len(order) == batches > 4
    assert (log.host_to_device, log.blocking_host_to_device, log.device_to_host) == (batches, 0, batches)
    assert log.waits == batches
    one, other = (read_features(tmp_path / f"{device}.parquet")[0] for device in ("cpu", "cuda"))
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
