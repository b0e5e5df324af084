"""The parser ``lite`` by onnxruntime: PyTorch's labels, and shards that say what made them."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.datasets.manifest import ManifestRow, build_manifest
from pipeline.datasets.walkers.population import Purpose, make_cameras, make_generator, plan_walkers
from pipeline.datasets.walkers.render import render
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.errors import InputError
from pipeline.location import locate
from pipeline.parsing.lite import onnx_network
from pipeline.parsing.lite.backend import create_lite
from pipeline.parsing.parser import check_device
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.maker import ShardMaker
from pipeline.shards.making.plan import plan_shards, rows_of
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import identify
from pipeline.shards.making.writer import describe_shard


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    """Rendered ones, as of the data set walkers."""
    settings = SynthSettings(height=256, train_identities=4, test_identities=2)
    cameras = make_cameras(settings, 1, Purpose.TRAIN)
    return [
        render(shot.identity, shot.outfit, cameras[shot.camera], 256, 128, make_generator(1, *shot.key)).image
        for shot in plan_walkers(settings, 1)[::13][:4]
    ]


@pytest.fixture(scope="module")
def by_onnxruntime():
    return create_lite(backend="onnxruntime")


def test_labels_are_those_of_torch(people, by_onnxruntime):
    for ours, theirs in zip(by_onnxruntime.parse(people), create_lite().parse(people), strict=True):
        assert (theirs.label_map > 0).any()
        assert np.mean(ours.label_map == theirs.label_map) >= 0.999
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-4)


def test_an_image_has_the_same_labels_alone_and_among_others(people, by_onnxruntime):
    together = by_onnxruntime.parse([*people, people[0][:90]])
    for image, parsing in zip(people, together, strict=False):
        (alone,) = by_onnxruntime.parse([image])
        assert np.array_equal(alone.label_map, parsing.label_map)
        assert alone.confidence == parsing.confidence


def test_a_shard_names_the_backend_and_its_version(people, by_onnxruntime, tmp_path):
    import onnxruntime

    rows = [ManifestRow(f"{number}.png", "train", number, 0) for number, _ in enumerate(people)]
    for row, image in zip(rows, people, strict=True):
        Image.fromarray(image).save(tmp_path / row.path)
    manifest = build_manifest(rows)
    settings = ShardSettings(parser="lite", settings={"backend": "onnxruntime"})
    _, provenance = bind_content("people", manifest, settings, identify(settings))
    maker = ShardMaker(by_onnxruntime, settings, provenance, locate(tmp_path), WorkSettings())
    entry = maker.make(rows_of(manifest, plan_shards(len(rows), 512, 64)[0]), tmp_path / "shard.parquet")
    maker.close()
    assert entry.rows == len(people)
    assert describe_shard(tmp_path / "shard.parquet").versions["onnxruntime"] == onnxruntime.__version__
    metadata = pq.read_schema(tmp_path / "shard.parquet").metadata
    assert json.loads(metadata[b"ccaf.parser_settings"]) == {"backend": "onnxruntime"}
    assert create_lite().libraries == ()


def test_what_it_cannot_do_is_refused_before_it_starts(monkeypatch):
    check_device("lite", "cpu", backend="onnxruntime")
    check_device("lite", "cuda:0")
    with pytest.raises(InputError, match=r"onnxruntime computes on the CPU, the device here is cuda:0"):
        check_device("lite", "cuda:0", backend="onnxruntime")
    monkeypatch.setattr(onnx_network, "PACKAGES", ("onnx", "not_there"))
    with pytest.raises(InputError, match=r"needs not_there: pip install 'ccaf-pipeline\[export\]'"):
        create_lite(backend="onnxruntime")
