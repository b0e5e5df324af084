"""The parser around real networks of the library: known masks, and the library's own predictor as the oracle."""

import math

import cv2
import d2_samples as samples
import numpy as np
import pytest
import torch

from pipeline.images import decode_image
from pipeline.labels import LIP
from pipeline.parsing.backends import load_backends
from pipeline.parsing.detectron2.backend import groups_of_one_size
from pipeline.parsing.detectron2.classes import load_preset
from pipeline.parsing.parser import create_parser

pytestmark = pytest.mark.usefixtures("library")

HEIGHT, WIDTH = 28, 24
"""Boxes of at most 28 pixels are covered to their last pixel by a mask of 28 x 28 that is the same everywhere."""

CLASSES = {
    "classes": ["shirt", "trousers", "tag"],
    "labels": {"shirt": "upper-clothes", "trousers": "pants", "tag": None},
}
UPPER, PANTS = LIP.labels.index("upper-clothes"), LIP.labels.index("pants")


@pytest.fixture(scope="module", autouse=True)
def _registered():
    load_backends("detectron2")


def image_of(height=HEIGHT, width=WIDTH, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fixed_parser(folder, scores, boxes, mask=5.0, **settings):
    network = samples.built(tree := samples.mask_rcnn(3))
    samples.fix_instances(network, scores, boxes, mask)
    return create_parser("detectron2", **{**samples.saved(folder, tree, network), **CLASSES, **settings})


UPPER_HALF, LOWER_THREE_QUARTERS, ALL = (0, 0, 1, 0.5), (0, 0.25, 1, 1), (0, 0, 1, 1)


@pytest.mark.parametrize(("scores", "on_top"), [((0.5, 0.3, 0.1), UPPER), ((0.3, 0.5, 0.1), PANTS)])
def test_masks_are_known_to_the_pixel_and_the_surer_one_is_on_top(tmp_path, scores, on_top):
    parser = fixed_parser(tmp_path, scores, (UPPER_HALF, LOWER_THREE_QUARTERS, ALL), score_threshold=0.2)
    (parsing,) = parser.parse([image_of()])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:14] = UPPER
    expected[14:] = PANTS
    expected[7:14] = on_top
    np.testing.assert_array_equal(parsing.label_map, expected)
    sure = 1 / (1 + math.exp(-5))
    shares = [np.mean(expected == UPPER), np.mean(expected == PANTS)]
    # probabilities of masks come in steps of 1/255
    assert parsing.confidence == pytest.approx(sure * np.dot(scores[:2], shares), abs=1 / 255)


def test_instances_are_left_out_by_score_and_classes_by_null(tmp_path):
    boxes = (UPPER_HALF, LOWER_THREE_QUARTERS, ALL)
    (parsing,) = fixed_parser(tmp_path, (0.3, 0.1, 0.55), boxes, score_threshold=0.25).parse([image_of()])
    assert set(np.unique(parsing.label_map)) == {0, UPPER}
    assert np.all(parsing.label_map[14:] == 0)


def test_nothing_found_is_background_without_confidence(tmp_path):
    (parsing,) = fixed_parser(tmp_path, (0.3, 0.1, 0.1), (ALL, ALL, ALL)).parse([image_of()])
    assert not parsing.label_map.any()
    assert (parsing.confidence, parsing.notes) == (0.0, ())


def test_a_network_that_finds_no_pixel_of_a_mask_paints_none(tmp_path):
    (parsing,) = fixed_parser(tmp_path, (0.8, 0.05, 0.05), (ALL, ALL, ALL), mask=-3.0).parse([image_of()])
    assert not parsing.label_map.any()


def test_masks_have_the_images_own_size_whatever_the_test_size(tmp_path):
    for test_size in (64, 128):
        parser = fixed_parser(
            tmp_path, (0.8, 0.05, 0.05), ((0, 0, 0.5, 1), ALL, ALL), test_size=test_size, max_size=150
        )
        (parsing,) = parser.parse([image_of(20, 10)])
        assert np.all(parsing.label_map == np.where(np.arange(10) < 5, UPPER, 0))


@pytest.mark.parametrize("known", [True, False])
def test_central_keeps_the_group_in_the_middle(tmp_path, known):
    """The trousers lie in a corner, far from the shirt."""
    shirt = (0.3, 0.25, 0.7, 0.75) if known else (0, 0.9, 0.1, 1)
    boxes = (shirt, (0.9, 0, 1, 0.1), ALL)
    parser = fixed_parser(tmp_path, (0.4, 0.3, 0.1), boxes, score_threshold=0.2, person_mode="central")
    union = fixed_parser(tmp_path, (0.4, 0.3, 0.1), boxes, score_threshold=0.2)
    (parsing,), (everything,) = parser.parse([image_of()]), union.parse([image_of()])
    assert set(np.unique(everything.label_map)) == {0, UPPER, PANTS}
    assert everything.notes == ()
    if known:
        np.testing.assert_array_equal(parsing.label_map, np.where(everything.label_map == UPPER, UPPER, 0))
        assert parsing.notes == ()
    else:
        np.testing.assert_array_equal(parsing.label_map, everything.label_map)
        assert parsing.notes == ("no_central_person",)


@pytest.mark.parametrize("score", [0.3, 0.01])
def test_central_keeps_what_lies_in_the_central_person_if_there_is_a_class_for_that(tmp_path, score):
    """The shirt lies in the person by half; the trousers touch the shirt, but lie outside."""
    boxes = ((0.25, 0, 0.75, 0.5), (0.5, 0.5, 1, 1), (0, 0, 0.5, 1))
    parser = fixed_parser(
        tmp_path, (0.3, 0.3, score), boxes, score_threshold=0.2, person_mode="central", person_class="tag"
    )
    (parsing,) = parser.parse([image_of()])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:14, 6:18] = UPPER
    if score < 0.2:
        expected[14:, 12:] = PANTS
    np.testing.assert_array_equal(parsing.label_map, expected)
    assert parsing.notes == (() if score > 0.2 else ("no_central_person",))


def naive_painting(instances, targets, threshold, shape):
    """One pixel at a time: the label of the best instance that covers it."""
    label_map = np.zeros(shape, np.uint8)
    masks, scores, classes = instances.pred_masks.numpy(), instances.scores.tolist(), instances.pred_classes.tolist()
    for row in range(shape[0]):
        for column in range(shape[1]):
            over = [
                (score, -index)
                for index, score in enumerate(scores)
                if masks[index, row, column] and score > threshold and targets[classes[index]] is not None
            ]
            if over:
                label_map[row, column] = targets[classes[-max(over)[1]]]
    return label_map


@pytest.mark.parametrize("input_format", ["BGR", "RGB"])
def test_instances_are_those_of_the_librarys_own_predictor(tmp_path, input_format):
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor

    tree = samples.mask_rcnn(3, anchor=64)
    tree["INPUT"] = {"FORMAT": input_format, "MIN_SIZE_TEST": 96, "MAX_SIZE_TEST": 180}
    settings = samples.saved(tmp_path, tree, samples.built(tree))
    cfg = get_cfg()
    cfg.merge_from_file(settings["config"])
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = "cpu", settings["weights"], 0.2
    cfg.DATASETS.TEST = ()
    predictor = DefaultPredictor(cfg)
    sizes = {"test_size": None, "max_size": 180}
    parser = create_parser("detectron2", **settings, **CLASSES, **sizes, score_threshold=0.2)
    painted = 0
    for image in (image_of(61, 40), image_of(50, 90, seed=1)):
        smooth = cv2.GaussianBlur(image, (0, 0), 3)
        found = predictor(np.ascontiguousarray(smooth[:, :, ::-1]))["instances"]
        expected = naive_painting(found, (UPPER, PANTS, None), 0.2, smooth.shape[:2])
        painted += np.count_nonzero(expected)
        np.testing.assert_array_equal(parser.parse([smooth])[0].label_map, expected)
    assert painted > 100


def test_a_semantic_heads_labels_are_summed_softmaxes(tmp_path):
    network = samples.built(tree := samples.semantic(4))
    chances = [0.4, 0.25, 0.3, 0.05]
    samples.fix_semantic(network, [math.log(chance) for chance in chances])
    settings = samples.saved(tmp_path, tree, network)
    names = {"classes": ["nobody", "blouse", "shirt", "thing"]}
    labels = {"nobody": "background", "blouse": "upper-clothes", "shirt": "upper-clothes", "thing": None}
    parser = create_parser("detectron2", **settings, **names, labels=labels, test_size=64)
    (parsing,) = parser.parse([image_of(31, 17)])
    assert np.all(parsing.label_map == UPPER)  # though no single class has more than nobody
    assert parsing.confidence == pytest.approx(0.55, abs=1e-6)
    assert parsing.label_map.shape == (31, 17)
    alone = create_parser("detectron2", **settings, **names, labels={**labels, "shirt": None}, test_size=64)
    assert not alone.parse([image_of(31, 17)])[0].label_map.any()


@pytest.mark.parametrize("kind", ["semantic", "panoptic", "deep_lab"])
def test_semantic_labels_are_those_of_the_librarys_own_logits(tmp_path, kind):
    from detectron2.data.transforms import ResizeShortestEdge

    torch.manual_seed(0)
    network = samples.built(tree := getattr(samples, kind)(3))
    for parameter in network.sem_seg_head.parameters():
        parameter.data *= 3  # so that the labels differ from place to place
    settings = samples.saved(tmp_path, tree, network)
    labels = {"shirt": "upper-clothes", "trousers": "pants", "tag": "hat"}
    parser = create_parser(
        "detectron2", **settings, classes=CLASSES["classes"], labels=labels, head="sem_seg", test_size=64
    )
    numbers = [UPPER, PANTS, LIP.labels.index("hat")]
    image = cv2.GaussianBlur(image_of(70, 45), (0, 0), 3)
    scaled = ResizeShortestEdge([64, 64], 1333).get_transform(image).apply_image(image)
    tensor = torch.from_numpy(scaled[:, :, ::-1].transpose(2, 0, 1).astype(np.float32))
    with torch.no_grad():
        logits = network([{"image": tensor, "height": 70, "width": 45}])[0]["sem_seg"]
    (parsing,) = parser.parse([image])
    top = logits.softmax(0).max(0)
    same = parsing.label_map == np.asarray(numbers, np.uint8)[top.indices.numpy()]
    assert same.mean() > 0.999  # ties of rounding aside
    assert parsing.confidence == pytest.approx(float(top.values.mean()), abs=1e-4)


def test_an_image_does_not_depend_on_its_company(tmp_path, real_images):
    paths = (
        sorted((real_images / "pku_reid_74").rglob("*.png"))[:3]
        or sorted(
            path
            for path in (real_images / "pku_reid_74").rglob("*")
            if path.suffix.lower() in (".jpg", ".jpeg", ".png")
        )[:3]
    )
    assert len(paths) == 3
    images = [decode_image(path.read_bytes()) for path in paths]
    images += [images[0][:90], image_of(40, 64)]
    (tmp_path / "semantic").mkdir()
    for folder, tree in ((tmp_path, samples.mask_rcnn(3, anchor=64)), (tmp_path / "semantic", samples.semantic(3))):
        settings = samples.saved(folder, tree, samples.built(tree))
        parser = create_parser("detectron2", **settings, **CLASSES, test_size=96, score_threshold=0.2)
        together = parser.parse(images)
        for image, parsing in zip(images, together, strict=True):
            (alone,) = parser.parse([image])
            np.testing.assert_array_equal(parsing.label_map, alone.label_map)
            assert parsing.confidence == alone.confidence
            assert parsing.label_map.shape == image.shape[:2]
            assert 0 <= parsing.confidence <= 1


def test_a_filled_up_batch_gives_each_image_its_own_logits(tmp_path):
    from pipeline.parsing.detectron2.configuration import read_config
    from pipeline.parsing.detectron2.network import Detectron2Network

    samples.saved(tmp_path, tree := samples.semantic(3), samples.built(tree))
    configured = read_config(tmp_path / "config.yaml", "cpu", 0.5, trust=False)
    network = Detectron2Network(configured, "sem_seg", 64, 200, "")
    images = [image_of(70, 45, seed) for seed in (1, 2)]
    together = network.logits(images, fill_to=4)
    assert len(together) == 2
    for image, logits in zip(images, together, strict=True):
        alone = network.logits([image])[0]
        assert float((logits - alone).abs().max()) < 1e-4 * float(alone.abs().max())


def test_runs_of_one_size_keep_the_order():
    small, large = image_of(4, 4), image_of(5, 4)
    groups = list(groups_of_one_size([small, small, small, large, small], 2))
    assert [[image.shape[0] for image in group] for group in groups] == [[4, 4], [4], [5], [4]]
    assert list(groups_of_one_size([], 2)) == []


@pytest.mark.parametrize("found", [True, False])
def test_point_rend_runs(tmp_path, found):
    network = samples.built(tree := samples.point_rend(3))
    predictor = network.roi_heads.box_predictor.cls_score
    torch.nn.init.zeros_(predictor.weight)
    predictor.bias.data = torch.tensor([0.0, 4.0, 0.0, 0.0] if found else [0.0, 0.0, 0.0, 9.0])
    settings = samples.saved(tmp_path, tree, network)
    parser = create_parser("detectron2", **settings, **CLASSES, test_size=64)
    (parsing,) = parser.parse([image_of(40, 30)])
    assert parsing.label_map.shape == (40, 30)
    assert set(np.unique(parsing.label_map)) == ({0, PANTS} if found else {0})


def test_a_panoptic_network_has_two_heads_to_choose_from(tmp_path):
    from pipeline.errors import InputError

    settings = samples.saved(tmp_path, tree := samples.panoptic(3), samples.built(tree))
    with pytest.raises(InputError, match=r"instance head and a semantic head; choose by parse\.settings\.head"):
        create_parser("detectron2", **settings, **CLASSES)
    for head in ("instances", "sem_seg"):
        parser = create_parser("detectron2", **settings, **CLASSES, head=head, test_size=64)
        assert parser.parse([image_of()])[0].label_map.shape == (HEIGHT, WIDTH)


def test_a_preset_has_the_librarys_standard_network_and_its_own_classes(tmp_path):
    from detectron2.checkpoint import DetectionCheckpointer

    from pipeline.parsing.detectron2.classes import PRESETS

    preset = load_preset("deepfashion2")
    tree = samples.yaml.safe_load((PRESETS / preset.config).read_text())
    tree["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] = len(preset.classes)
    network = samples.built(tree)
    nn = torch.nn
    nn.init.zeros_(network.roi_heads.box_predictor.cls_score.weight)
    network.roi_heads.box_predictor.cls_score.bias.data = torch.zeros(14)
    network.roi_heads.box_predictor.cls_score.bias.data[8] = 9.0
    nn.init.zeros_(network.roi_heads.mask_head.predictor.weight)
    network.roi_heads.mask_head.predictor.bias.data = torch.full((13,), 4.0)
    DetectionCheckpointer(network, str(tmp_path)).save("model")
    parser = create_parser("detectron2", preset="deepfashion2", weights=tmp_path / "model.pth", test_size=64)
    (parsing,) = parser.parse([image_of(64, 48)])
    assert set(np.unique(parsing.label_map)) <= {0, LIP.labels.index("skirt")}  # the ninth class
    assert parsing.label_map.any()
    assert parser.scheme.garments_only


def test_the_hash_follows_configuration_and_weights(tmp_path):
    network = samples.built(tree := samples.semantic(3))
    settings = samples.saved(tmp_path, tree, network)

    def sha256():
        return create_parser("detectron2", **settings, **CLASSES).weights_sha256

    first = sha256()
    assert first == sha256()
    assert len(first) == 64
    (tmp_path / "base.yaml").write_text(samples.yaml.safe_dump(tree))
    (tmp_path / "config.yaml").write_text("_BASE_: base.yaml\n")
    assert sha256() == first
    tree["INPUT"] = {"FORMAT": "RGB"}
    (tmp_path / "base.yaml").write_text(samples.yaml.safe_dump(tree))
    changed = sha256()
    assert changed != first
    samples.fix_semantic(network, [0, 0, 1])
    samples.saved(tmp_path, tree, network)
    assert sha256() not in (first, changed)


def test_wrong_arrays_are_refused(tmp_path):
    settings = samples.saved(tmp_path, tree := samples.semantic(3), samples.built(tree))
    parser = create_parser("detectron2", **settings, **CLASSES)
    with pytest.raises(ValueError, match="expected uint8"):
        parser.parse([np.zeros((4, 4), np.uint8)])
    assert parser.parse([]) == []
