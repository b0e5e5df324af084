"""ONNX files of every kind of tower give the features of the encoder; lossy ones nearly, and they are smaller."""

import json

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from clips import make_clip
from towers import FAMILIES, write_tokenizer

from pipeline.errors import InputError, WorkError
from pipeline.export.choices import Cameras, ImageInput
from pipeline.export.graph import ExportedNetwork, ExportForm
from pipeline.export.measure import Difference, features_of_file, random_images
from pipeline.export.runtime import OnnxEncoder, check_loads, load_package, write_int8, write_onnx
from pipeline.onnx_packages import OPSET

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VIT = {"image_size": [64, 32], "patch_size": 16, "width": 32, "layers": 2, "head_width": 16}
EVA = {
    "image_size": 56,
    "timm_model_name": "eva02_tiny_patch14_224",
    "timm_model_pretrained": False,
    "timm_pool": "token",
    "timm_proj": None,
}
TOWERS = {
    "vit": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    },
    "eva": {"embed_dim": 24, "vision_cfg": EVA, "text_cfg": TEXT, "custom_text": True},
    "walker-clip": None,
    **{family: FAMILIES[family] for family in ("siglip", "pe-core", "mobile-s", "efficientnet")},
}
SIZES = {"eva": (70, 42)}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """An encoder of a kind with random weights, frozen, and its description."""
    folder = tmp_path_factory.mktemp("towers")

    def make(kind, **settings):
        name = kind
        if TOWERS[kind] is not None:
            name = folder / f"small-{kind}.json"
            name.write_text(json.dumps(TOWERS[kind]))
        stem = {"stem": "conv"} if kind == "walker-clip" else {}
        if kind == "siglip":
            stem = {"tokenizer": str(write_tokenizer(folder / "tokenizer"))}
        clip = make_clip(name, image_size=SIZES.get(kind, (64, 32)), seed=5, **stem, **settings).freeze()
        if kind == "eva":  # two of its twelve blocks are enough, and quicker
            trunk = clip.image_encoder.tower.trunk
            trunk.blocks = trunk.blocks[:2]
        return clip.image_encoder, clip.spec

    return make


def expected(encoder, spec, pixels, cameras=None, projected=False, flip=False):
    """The feature by the definition, from uint8 images (B, H, W, 3)."""
    images = (pixels.float() / 255 - torch.tensor(spec.pixel_mean)) / torch.tensor(spec.pixel_std)
    images = images.permute(0, 3, 1, 2)

    def joined(batch):
        found = encoder(batch, cameras)
        return found.projected if projected else torch.cat([found.hidden, found.projected], dim=1)

    with torch.no_grad():
        feature = (joined(images) + joined(images.flip(3))) / 2 if flip else joined(images)
    return F.normalize(feature, dim=1).numpy()


def export(encoder, spec, form, path, half=False):
    write_onnx(ExportedNetwork(encoder, spec, form, half), form.shape(spec), path, {"ccaf.input": form.input.value})
    return OnnxEncoder(path, threads=1)


@pytest.mark.parametrize(
    ("kind", "form", "lossy"),
    [
        ("vit", ExportForm(), False),
        ("vit", ExportForm(ImageInput.UINT8, "projected", flip=True), False),
        ("resnet", ExportForm(ImageInput.UINT8), True),
        ("walker-clip", ExportForm(), True),
        ("eva", ExportForm(), False),
        ("siglip", ExportForm(ImageInput.UINT8), False),
        ("pe-core", ExportForm(), False),
        ("mobile-s", ExportForm(feature="projected"), False),
        ("efficientnet", ExportForm(), False),
    ],
)
def test_a_file_gives_the_encoders_features_for_any_batch(build, tmp_path, kind, form, lossy):
    encoder, spec = build(kind)
    images = random_images(spec, seed=1)
    pixels = images.load(range(len(images)))
    right = expected(encoder, spec, pixels, projected=form.feature == "projected", flip=form.flip)
    path = tmp_path / "reid.onnx"
    file = export(encoder, spec, form, path)
    assert file.notes == {"ccaf.input": form.input.value}
    for count in (1, 2, 5):
        found = file(form.given(pixels[:count]).numpy())
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, right[:count], atol=1e-6)
    np.testing.assert_array_equal(features_of_file(file, form, images, 2, "x", quiet=True).shape, right.shape)
    model = onnx.load(path)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", OPSET)]
    assert b"/pipeline/" not in path.read_bytes()
    if not lossy:
        return
    small = {"fp16": tmp_path / "fp16.onnx", "int8": tmp_path / "int8.onnx"}
    export(encoder, spec, form, small["fp16"], half=True)
    write_int8(path, small["int8"])
    assert sorted(item.name for item in tmp_path.iterdir()) == ["fp16.onnx", "int8.onnx", "reid.onnx"]
    for name, largest, share in (("fp16", 2e-3, 0.6), ("int8", 5e-2, 0.5)):
        lost = Difference.between(right, OnnxEncoder(small[name], 1)(form.given(pixels).numpy()))
        assert 0 < lost.largest < largest, (name, lost)
        assert 0.99 < lost.least_cosine <= lost.mean_cosine < 1.0001
        assert small[name].stat().st_size < share * path.stat().st_size


def test_a_camera_embedding_is_refused_or_becomes_the_mean_vector(build, tmp_path, monkeypatch):
    """By the way, weights that are too large for one message lie beside the file."""
    monkeypatch.setattr("pipeline.export.runtime.MOST_BYTES_WITHIN", 1000)
    encoder, spec = build("vit")
    encoder.add_cameras(torch.tensor([2, 5, 9]), 2.0, torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"embedding of 3 cameras, and .* no input for the camera.*--cameras mean"):
        ExportedNetwork(encoder, spec, ExportForm())
    form = ExportForm(cameras=Cameras.MEAN)
    pixels = random_images(spec, seed=1).load(range(3))
    found = export(encoder, spec, form, tmp_path / "reid.onnx")(form.given(pixels).numpy())
    np.testing.assert_allclose(found, expected(encoder, spec, pixels, torch.tensor([-1, -1, -1])), atol=1e-6)
    assert np.abs(found - expected(encoder, spec, pixels)).max() > 1e-4
    assert encoder.camera_embedding is not None, "the encoder itself is left as it is"
    assert (tmp_path / "reid.onnx.data").stat().st_size > (tmp_path / "reid.onnx").stat().st_size
    write_int8(tmp_path / "reid.onnx", tmp_path / "int8.onnx")
    small = OnnxEncoder(tmp_path / "int8.onnx", 1)(form.given(pixels).numpy())
    assert Difference.between(found, small).least_cosine > 0.99


def test_differences_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(4, 6)).astype(np.float32)
    found = Difference.between(one, other)
    cosines, largest = [], 0.0
    for left, right in zip(one, other, strict=True):
        left, right = left / np.linalg.norm(left), right / np.linalg.norm(right)
        cosines.append(float(left @ right))
        largest = max(largest, float(np.abs(left - right).max()))
    assert found.images == 4
    np.testing.assert_allclose(found.largest, largest, rtol=1e-6)
    np.testing.assert_allclose([found.least_cosine, found.mean_cosine], [min(cosines), np.mean(cosines)], rtol=1e-6)


def test_features_that_are_not_finite_are_an_error(build):
    images = random_images(build("vit")[1], 0)

    class Overflow:
        def __call__(self, batch):
            return np.full((len(batch), 3), np.inf, np.float32)

    with pytest.raises(WorkError, match="the features of x are not finite"):
        features_of_file(Overflow(), ExportForm(), images, 2, "x", quiet=True)


def test_a_file_that_kills_the_runtime_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.export.runtime.sys.executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "python").chmod(0o700)
    with pytest.raises(WorkError, match=r"onnxruntime .* crashes when it loads reid-fp16\.onnx"):
        check_loads(tmp_path / "reid-fp16.onnx")


def test_a_missing_package_is_named_with_the_extra():
    with pytest.raises(InputError, match=r"export needs not_there.*ccaf-pipeline\[export\]"):
        load_package("not_there")
