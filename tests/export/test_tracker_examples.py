"""The examples for trackers: boxes of a frame become the features that the encoder gives of the same crops."""

import json
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from clips import make_clip
from doc_pages import REPOSITORY

from pipeline.export.choices import ImageInput
from pipeline.export.graph import ExportedNetwork, ExportForm
from pipeline.export.runtime import write_onnx
from pipeline.images import resize_image
from pipeline.models.preprocess import normalise

EXAMPLES = REPOSITORY / "examples"
BOXES = np.array([[3.2, 5, 40.4, 90], [50, 20, 70, 60], [-20, 60, 30, 400], [200, 5, 240, 90]])
"""One inside, one smaller than the crop, one across two edges, one outside of the frame of 120 x 100 pixels."""
SAME = [(5, 90, 3, 40), (20, 60, 50, 70), (60, 120, 0, 30)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_clip_config):
    """A function: files by their input; the features of RGB crops by the encoder itself; a BGR frame."""
    folder = tmp_path_factory.mktemp("trackers")
    clip = make_clip(tiny_clip_config, image_size=(64, 32), seed=2).freeze()
    for given in ImageInput:
        form = ExportForm(given)
        network = ExportedNetwork(clip.image_encoder, clip.spec, form)
        write_onnx(network, form.shape(clip.spec), folder / f"{given.value}.onnx", {})
    frame = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "frame.png"), frame)
    crops = [resize_image(np.ascontiguousarray(frame[a:b, c:d, ::-1]), (64, 32)) for a, b, c, d in SAME]
    images = torch.from_numpy(np.stack([*crops, np.zeros_like(crops[0])]))
    found = clip.image_encoder(normalise(images, clip.spec.pixel_mean, clip.spec.pixel_std))
    return folder, frame, clip.image_encoder.compared(found, "concat").numpy()


def test_boxmot_gets_a_matrix_of_features(exported):
    folder, frame, expected = exported
    model = runpy.run_path(str(EXAMPLES / "onnx_for_boxmot.py"))["BoxFeatures"](str(folder / "float.onnx"))
    found = model.get_features(BOXES, frame)
    assert found.shape == (4, 56)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert model.get_features(np.zeros((0, 4)), frame).shape == (0, 56)
    many = model.get_features(np.repeat(BOXES, 20, axis=0), frame)
    np.testing.assert_allclose(many, np.repeat(expected, 20, axis=0), atol=1e-5)


@pytest.mark.parametrize("given", ["float", "uint8"])
def test_ultralytics_gets_a_list_of_features(exported, given):
    folder, frame, expected = exported
    encoder = runpy.run_path(str(EXAMPLES / "onnx_for_ultralytics.py"))["BoxEncoder"](str(folder / f"{given}.onnx"))
    sides = BOXES[:, 2:] - BOXES[:, :2]
    boxes = np.hstack([BOXES[:, :2] + sides / 2, sides, np.arange(4)[:, None]])  # a tracker adds the detection's number
    found = encoder(frame, boxes)
    assert isinstance(found, list)
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-5)
    assert encoder(frame, boxes[:0]) == []


@pytest.mark.parametrize(
    ("name", "boxes"),
    [("onnx_for_boxmot.py", ["3,5,40,90", "50,20,70,60"]), ("onnx_for_ultralytics.py", ["22,48,38,84", "60,40,20,40"])],
)
def test_they_run_as_programs(exported, monkeypatch, capsys, name, boxes):
    folder = exported[0]
    monkeypatch.setattr(sys, "argv", [name, str(folder / "float.onnx"), str(folder / "frame.png"), *boxes])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 features of 56 numbers; their cosines:"
    cosines = np.array([[float(word) for word in line.split()] for line in lines[1:]])
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-3)
    assert json.dumps(cosines[0, 1]) == json.dumps(cosines[1, 0])


def test_they_need_nothing_of_the_trackers_or_of_this_project():
    for name in ("onnx_for_boxmot.py", "onnx_for_ultralytics.py"):
        imported = {
            line.split()[1]
            for line in (EXAMPLES / name).read_text().splitlines()
            if line.startswith(("import", "from"))
        }
        assert imported == {"argparse", "cv2", "numpy", "onnxruntime", "numpy.typing"}
