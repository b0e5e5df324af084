"""Files that the parser must refuse: absent, unsafe, damaged, of another network, or beyond this installation."""

import pickle
import re

import d2_samples as samples
import numpy as np
import pytest
import torch
import yaml

from pipeline.errors import InputError
from pipeline.parsing.backends import load_backends
from pipeline.parsing.parser import create_parser

pytestmark = pytest.mark.usefixtures("library")

CLASSES = {"classes": ["a", "b", "c"], "labels": {"a": "background", "b": "pants", "c": "hat"}}


@pytest.fixture(scope="module", autouse=True)
def _registered():
    load_backends("detectron2")


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def settings(tmp_path):
    return {**samples.saved(tmp_path, tree := samples.semantic(3), samples.built(tree)), **CLASSES}


def refused(match, **settings):
    with pytest.raises(InputError, match=match) as caught:
        create_parser("detectron2", **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("key", ["config", "weights"])
def test_files_that_are_not_there(settings, key, tmp_path):
    refused(rf"not found: {re.escape(str(tmp_path))}/absent\.yaml", **{**settings, key: tmp_path / "absent.yaml"})


def test_settings_that_must_be_given(settings):
    refused("needs a configuration: parse.settings.config, or parse.settings.preset", **{**settings, "config": None})
    del settings["weights"]
    refused("weights must be given", **settings)


RETINA_NET = """
MODEL:
  META_ARCHITECTURE: RetinaNet
  BACKBONE: {NAME: build_retinanet_resnet_fpn_backbone}
  RESNETS: {OUT_FEATURES: [res3, res4, res5], DEPTH: 18, RES2_OUT_CHANNELS: 64}
  FPN: {IN_FEATURES: [res3, res4, res5]}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list", "cannot be used"),
        ("MODEL: [", "cannot be used"),
        ("", "cannot be used"),
        ("MODEL: {NOSUCH: 1}", "Non-existent config key: MODEL.NOSUCH"),
        ("MODEL: {META_ARCHITECTURE: Nobody}", "No object named 'Nobody'"),
        (RETINA_NET, "a RetinaNet gives no masks that can be used; supported: GeneralizedRCNN with MASK_ON"),
        ("_BASE_: https://example.org/base.yaml", "is not a file on this machine"),
        ("_BASE_: detectron2://base.yaml", "is not a file on this machine"),
        ("_BASE_: config.yaml", "cannot be used: RecursionError"),
        ("_BASE_: absent.yaml", "cannot be used: FileNotFoundError"),
        ("INPUT: {FORMAT: YUV-BT.601}", "only BGR and RGB"),
        ("MODEL: {META_ARCHITECTURE: GeneralizedRCNN, MASK_ON: false}", "gives no masks"),
    ],
)
def test_configurations_that_cannot_be_used(settings, tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    refused(message, **settings)


def test_a_configuration_of_another_kind(settings, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    refused(r"expected \.yaml", **{**settings, "config": tmp_path / "config.json"})


def test_python_tags_in_yaml_are_for_trusted_files(settings, tmp_path):
    good = (tmp_path / "config.yaml").read_text()
    made = tmp_path / "made"
    (tmp_path / "config.yaml").write_text(f"{good}\nOUTPUT_DIR: !!python/object/apply:os.mkdir ['{made}']\n")
    refused("Python tags, which execute code", **settings)
    assert not made.exists()
    (tmp_path / "config.yaml").write_text(f"{good}\nOUTPUT_DIR: !!python/object/apply:os.path.join [a, b]\n")
    assert create_parser("detectron2", **settings, trust=True).name == "detectron2"


LAZY = """
from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling import SemanticSegmentor
from detectron2.modeling.backbone.resnet import BasicStem, ResNet
from detectron2.modeling.backbone.fpn import FPN
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from pathlib import Path

Path(__file__).with_suffix(".ran").touch()
model = L(SemanticSegmentor)(
    backbone=L(FPN)(
        bottom_up=L(ResNet)(
            stem=L(BasicStem)(in_channels=3, out_channels=8, norm="FrozenBN"),
            stages=L(ResNet.make_default_stages)(depth=18, norm="FrozenBN"),
            out_features=["res2", "res3"],
        ),
        in_features=["res2", "res3"],
        out_channels=8,
    ),
    sem_seg_head=L(SemSegFPNHead)(
        input_shape={"p2": L(ShapeSpec)(channels=8, stride=4), "p3": L(ShapeSpec)(channels=8, stride=8)},
        num_classes=3, conv_dims=8, common_stride=4, norm="",
    ),
    pixel_mean=[103.53, 116.28, 123.675],
    pixel_std=[1.0, 1.0, 1.0],
)
"""


def test_a_lazy_configuration_is_run_for_trusted_files_only(tmp_path):
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import LazyConfig, instantiate

    path = tmp_path / "lazy.py"
    path.write_text(LAZY.replace("out_channels=8, norm", "out_channels=64, norm"))
    given = {"config": path, "weights": tmp_path / "model.pth", **CLASSES}
    refused("LazyConfig, which executes code", **given)
    assert not path.with_suffix(".ran").exists()
    network = instantiate(LazyConfig.load(str(path)).model)
    samples.fix_semantic(network, [0.0, 3.0, 1.0])
    DetectionCheckpointer(network, str(tmp_path)).save("model")
    parser = create_parser("detectron2", **given, trust=True, test_size=64)
    (parsing,) = parser.parse([np.zeros((20, 10, 3), np.uint8)])
    assert np.all(parsing.label_map == parser.scheme.labels.index("pants"))
    refused("does not say the test size", **given, trust=True, test_size=None)
    refused(
        "head of .* has 3 classes, but 2",
        **{**given, "classes": ["a", "b"], "labels": {"a": "hat", "b": None}},
        trust=True,
    )


def test_a_pickle_is_opened_for_trusted_files_only(settings, tmp_path):
    network = samples.built(samples.semantic(3))
    samples.fix_semantic(network, [0.0, 0.0, 3.0])
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    made = tmp_path / "made"
    (tmp_path / "model.pkl").write_bytes(
        pickle.dumps({"model": state, "__author__": "tests", "matching_heuristics": True, "more": Bomb(made)})
    )
    given = {**settings, "weights": tmp_path / "model.pkl"}
    refused("is a pickle, which may execute code", **given)
    assert not made.exists()
    parser = create_parser("detectron2", **given, trust=True)
    assert made.exists()
    assert np.all(parser.parse([np.zeros((9, 9, 3), np.uint8)])[0].label_map == parser.scheme.labels.index("hat"))


def test_objects_in_a_pth_file_are_not_unpickled(settings, tmp_path):
    made = tmp_path / "made"
    checkpoint = torch.load(settings["weights"], weights_only=True)
    torch.save({**checkpoint, "bomb": Bomb(made)}, settings["weights"])
    refused("holds other objects than weights", **settings)
    assert not made.exists()
    create_parser("detectron2", **settings, trust=True)
    assert made.exists()


def test_a_bare_dictionary_of_weights_is_a_checkpoint(settings):
    torch.save(torch.load(settings["weights"], weights_only=True)["model"], settings["weights"])
    assert create_parser("detectron2", **settings).name == "detectron2"


@pytest.mark.parametrize(
    "content", [b"", b"no weights", None, [1, 2], {"model": [1]}, {"model": {1: 2}}, {"model": {"a": 1}}]
)
def test_damaged_weights(settings, tmp_path, content):
    path = tmp_path / "model.pth"
    if content is None:
        path.write_bytes(path.read_bytes()[:5000])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    assert str(path) in refused("model.pth", **settings)


def test_weights_of_another_kind_of_file(settings, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    refused(r"expected a \.pth file", **{**settings, "weights": tmp_path / "model.onnx"})


def test_every_kind_of_key_that_does_not_fit_is_named(settings):
    checkpoint = torch.load(settings["weights"], weights_only=True)
    model = checkpoint["model"]
    del model["sem_seg_head.predictor.bias"]
    model["sem_seg_head.extra"] = torch.zeros(1)
    model["backbone.fpn_output2.bias"] = torch.zeros(5)
    model["backbone.bottom_up.stem.conv1.norm.num_batches_tracked"] = torch.zeros(1)  # a counter: harmless
    torch.save(checkpoint, settings["weights"])
    message = refused("do not fit", **settings)
    assert "1 missing: sem_seg_head.predictor.bias;" in message
    assert "1 unknown: sem_seg_head.extra;" in message
    assert message.endswith("1 of another shape: backbone.fpn_output2.bias (5,) for (8,)")


def test_many_keys_are_cut_short(settings):
    torch.save({"model": {f"k{number}": torch.zeros(1) for number in range(9)}}, settings["weights"])
    assert "9 unknown: k0, k1, k2, k3, k4, k5, k6, k7, ..." in refused("do not fit", **settings)


@pytest.mark.parametrize("count", [2, 4])
def test_a_wrong_number_of_classes(settings, count):
    names = ["a", "b", "c", "d"][:count]
    given = {**settings, "classes": names, "labels": dict.fromkeys(names, "hat")}
    refused(rf"semantic head of .*config\.yaml has 3 classes, but {count} class names", **given)


def test_a_head_that_is_not_there(settings):
    refused("has no head instances; it has: sem_seg", **settings, head="instances")


def test_persons_are_for_instance_heads(settings):
    refused("for instance heads", **settings, person_mode="central", person_class="a")
    refused("must be one of the classes", **settings, person_mode="central", person_class="z")
    refused("with person_mode central", **settings, person_class="a")


def deformable():
    tree = samples.mask_rcnn(3)
    resnet = {**tree["MODEL"]["RESNETS"], "DEFORM_ON_PER_STAGE": [False, False, True, True]}
    tree["MODEL"] = {**tree["MODEL"], "RESNETS": resnet}
    return tree


def rotated():
    tree = samples.mask_rcnn(3)
    tree["MODEL"]["ANCHOR_GENERATOR"] |= {"NAME": "RotatedAnchorGenerator", "ANGLES": [[0, 90]]}
    tree["MODEL"]["PROPOSAL_GENERATOR"] = {"NAME": "RRPN"}
    tree["MODEL"]["RPN"] |= {"BBOX_REG_WEIGHTS": [1, 1, 1, 1, 1], "HEAD_NAME": "StandardRPNHead"}
    return tree


@pytest.mark.parametrize(
    ("tree", "what"), [(deformable(), "deformable convolutions"), (rotated(), "rotated boxes")], ids=["dcn", "rrpn"]
)
def test_what_needs_compiled_operators_is_refused_without_them(tmp_path, monkeypatch, tree, what):
    from pipeline.parsing.detectron2 import network

    monkeypatch.setattr(network, "has_compiled_operators", lambda: False)  # so too where they are
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "model.pth").write_bytes(b"")
    given = {"config": tmp_path / "config.yaml", "weights": tmp_path / "model.pth", **CLASSES}
    assert "--upstream" in refused(f"uses {what}", **given)
