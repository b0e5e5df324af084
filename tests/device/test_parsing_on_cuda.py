"""Every parser on a pretended GPU, through the parse job and its worker: the CPU's label maps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from device_samples import World
from pretended.gpu import Gpu

from pipeline.parsing.backends import BACKENDS, load_backends
from pipeline.parsing.detectron2 import compat
from pipeline.parsing.forward import NetworkParser
from pipeline.parsing.parser import create_parser
from pipeline.parsing.schp.transform import warp_arrays, warp_on_device, warp_to_input
from pipeline.parsing.schp.variants import VARIANTS
from pipeline.shards.making import batches
from pipeline.shards.reader import ShardReader
from pipeline.transfer import Carrier

IMAGES = 3


def _lite(_: Path) -> dict[str, object]:
    return {}


def _precomputed(folder: Path) -> dict[str, object]:
    return yaml.safe_load((folder / "params.yaml").read_text())["parse"]["settings"]  # type: ignore[no-any-return]


def _transformers(folder: Path) -> dict[str, object]:
    import transformers_samples

    return {"model": str(transformers_samples.save_model(folder / "transformers"))}


def _sam3(folder: Path) -> dict[str, object]:
    import sam3_samples

    path = folder / "sam3"
    return {"model": str(path if path.is_dir() else sam3_samples.save_sam3(path)), "score_threshold": 0.3}


def _schp(folder: Path) -> dict[str, object]:
    import schp_samples

    path = folder / schp_samples.FILES["lip"]
    if not path.is_file():
        schp_samples.save_published(path, schp_samples.random_tensors("lip"))
    return {"weights": str(path)}


def _detectron2(folder: Path) -> dict[str, object]:
    if compat.package_folder() is None:
        pytest.skip("detectron2 is not installed: python -m pipeline.parsing.detectron2.install")
    import d2_samples

    network = d2_samples.built(tree := d2_samples.mask_rcnn(3))
    d2_samples.fix_instances(network, (0.5, 0.3, 0.1), ((0, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0, 0, 1, 1)))
    labels = {"shirt": "upper-clothes", "trousers": "pants", "tag": None}
    saved = d2_samples.saved(folder, tree, network)
    return {**saved, "classes": list(labels), "labels": labels, "score_threshold": 0.2, "test_size": 64}


SETTINGS: dict[str, Callable[[Path], dict[str, object]]] = {
    "lite": _lite,
    "precomputed": _precomputed,
    "transformers": _transformers,
    "sam3": _sam3,
    "schp": _schp,
    "detectron2": _detectron2,
}
"""What each parser needs, made in a folder."""


def parse(world: World, device: str, out: Path, parser: str, **more: object) -> ShardReader:
    settings = yaml.safe_dump(SETTINGS[parser](world.folder) | more, default_flow_style=True, width=10_000).strip()
    chosen = [f"parse.parser={parser}", f"parse.settings={settings}"]
    log = world.parse(device, out, "--limit", IMAGES, settings=chosen)
    if log is not None and parser != "precomputed":  # which has no network
        assert log.kernels
        assert log.device_to_host
    return ShardReader(out)


@pytest.fixture(autouse=True)
def _small_schp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is the real one; at its own size, 473 pixels, an image takes seconds."""
    monkeypatch.setitem(VARIANTS, "lip", replace(VARIANTS["lip"], size=65))


def test_no_parser_is_left_out():
    assert SETTINGS.keys() == BACKENDS.keys()


@pytest.mark.parametrize("parser", SETTINGS)
def test_label_maps_are_the_cpus(world, tmp_path, parser):
    on_cpu, on_cuda = (parse(world, device, tmp_path / device, parser) for device in ("cpu", "cuda"))
    assert len(on_cuda.ids.image_id) == IMAGES  # none is in quarantine
    for row in range(IMAGES):
        one, other = on_cpu.label_map(row), on_cuda.label_map(row)
        assert np.mean(one == other) > 0.999  # batches of other sizes round differently
        assert one.shape == (64, 32)
    assert any(on_cuda.label_map(row).any() for row in range(IMAGES))


def test_without_stored_shielding_images_they_are_the_cpus(world, tmp_path):
    for device in ("cpu", "cuda"):
        world.parse(device, tmp_path / device, "--limit", IMAGES, settings=["parse.shielded_images=made"])
    one, other = (ShardReader(tmp_path / device) for device in ("cpu", "cuda"))
    assert one.metadata.schema_version == other.metadata.schema_version == 4
    for row in range(IMAGES):
        assert np.array_equal(one.shielded(row), other.shielded(row))


def _universal(mode: str) -> Callable[[Path], dict[str, object]]:
    def made(folder: Path) -> dict[str, object]:
        import transformers_samples

        path = folder / "mask2former"
        if not path.is_dir():
            transformers_samples.save_universal(path, "mask2former")
        threshold = {"threshold": 0.3} if mode == "panoptic" else {}  # which some of these random queries pass
        return {"model": str(path), "mode": mode, **threshold}

    return made


IN_BATCHES = {
    "lite": ("lite", _lite),
    "transformers": ("transformers", _transformers),
    "transformers, semantic queries": ("transformers", _universal("semantic")),
    "transformers, panoptic queries": ("transformers", _universal("panoptic")),
    "schp": ("schp", _schp),
}


@pytest.mark.parametrize("chosen", IN_BATCHES)
def test_a_batch_is_two_copies_there_and_one_back_and_one_wait(cuda, world, chosen):
    """Images of many sizes, warped on the GPU or, if they are large, before; labels and confidences are the CPU's."""
    parser, settings = IN_BATCHES[chosen]
    load_backends(parser)
    network = create_parser(parser, device="cuda", **{**settings(world.folder), "batch_size": 4})
    generator = np.random.default_rng(0)
    shapes = ((64, 32), (97, 41), (33, 80), (300, 200), (5, 7))
    images = [generator.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    with cuda.section() as log:
        found = network.parse(images)
    batches = 2
    own = 2 * batches * ("queries" in chosen)  # Mask2Former puts sizes of its levels there itself
    assert (log.host_to_device - own, log.blocking_host_to_device - own) == (1 + batches, 0)
    assert (log.device_to_host, log.device_to_host_waits) == (batches, 0)
    assert log.operators("wait") == {"Event.synchronize": batches}
    assert log.waits == batches + own
    alone = create_parser(parser, device="cpu", **settings(world.folder)).parse(images)
    for shape, one, other in zip(shapes, alone, found, strict=True):
        assert one.label_map.shape == other.label_map.shape == shape
        assert np.mean(one.label_map == other.label_map) > 0.999
        assert other.confidence == pytest.approx(one.confidence, abs=1e-3)
    assert network.parse([]) == []


def test_the_next_batch_is_launched_before_the_worker_waits_for_the_last_one(world, tmp_path, monkeypatch):
    """Across windows, too; with one batch at a time the shards have the same bytes, and the GPU as much to do."""
    order: list[tuple[str, int, int]] = []
    plain = NetworkParser.launch

    def launch(parser, images, paths=None):
        log, number = Gpu.current().log, sum(what == "launch" for what, _, _ in order)
        kernels, waits = log.kernels, log.waits
        taken = plain(parser, images, paths)
        assert log.kernels > kernels
        assert log.waits == waits
        order.append(("launch", number, len(images)))

        def take():
            found = taken()
            assert log.waits == waits + 1 + (number > 0) * ahead  # its own, and that of the batch before it
            order.append(("take", number, len(found)))
            return found

        return take

    monkeypatch.setattr(NetworkParser, "launch", launch)
    counts, shards = [], []
    for ahead in (1, 0):
        monkeypatch.setattr(batches, "BATCHES_AHEAD", ahead)
        order.clear()
        small = ["parse.parser=lite", "parse.batch_size=2", "parse.bucket_batches=2", "parse.settings={batch_size: 2}"]
        log = world.parse("cuda", out := tmp_path / str(ahead), "--limit", 7, settings=small)
        launches = [("launch", number, 2 if number < 3 else 1) for number in range(4)]
        takes = [("take", number, images) for _, number, images in launches]
        if ahead:
            pairs = zip(launches[1:], takes[:-1], strict=True)
            assert order == [launches[0], *(event for pair in pairs for event in pair), takes[-1]]
        else:
            assert order == [event for pair in zip(launches, takes, strict=True) for event in pair]
        counts.append((log.kernels, log.host_to_device, log.device_to_host, log.waits))
        shards.append({path.name: path.read_bytes() for path in out.glob("*.parquet")})
    assert counts[0] == counts[1]
    assert shards[0] == shards[1] != {}


def test_float32_is_float32_in_convolutions_too(world, tmp_path, monkeypatch):
    """PyTorch alone would round them to TF32, unlike products of matrices."""
    cudnn = torch.backends.cudnn
    seen, plain = [], NetworkParser.launch

    def launch(*arguments):
        seen.append(cudnn.allow_tf32)
        return plain(*arguments)

    monkeypatch.setattr(NetworkParser, "launch", launch)
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    several = ["parse.parser=lite", "parse.settings={}", "parse.shard_rows=2"]
    world.parse("cuda", tmp_path / "shards", "--limit", 6, settings=several)
    assert set(seen) == {False}


@pytest.mark.parametrize("shape", [(64, 32), (97, 41), (33, 80), (300, 200), (1, 9), (2, 400), (65, 65)])
@pytest.mark.parametrize("size", [65, 64])
def test_the_warp_on_the_gpu_has_the_bytes_of_the_cpus(cuda, shape, size):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    tensors = Carrier("cuda").send({"image": image, **warp_arrays(*shape, size)}).take()
    with cuda.section() as log:
        warped = warp_on_device(tensors, *shape, size)
    assert log.waits == log.host_to_device == 0
    assert np.array_equal(warped.cpu().numpy(), warp_to_input(image, size))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("parser", ["transformers", "schp"])
def test_short_types(world, tmp_path, parser, precision):
    plain = parse(world, "cuda", tmp_path / "plain", parser)
    short = parse(world, "cuda", tmp_path / "short", parser, precision=precision)
    agree = np.mean([np.mean(plain.label_map(row) == short.label_map(row)) for row in range(IMAGES)])
    assert agree > 0.9
