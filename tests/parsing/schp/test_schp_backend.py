"""The parser schp behind the protocol, from a checkpoint in the published layout."""

import cv2
import numpy as np
import pytest
import torch
from schp_samples import CLASSES, FILES, pictures, random_tensors, save_published
from torch.nn.functional import interpolate

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.labels import LIP
from pipeline.parsing.backends import load_backends
from pipeline.parsing.parser import check_device, create_parser, identify_parser
from pipeline.parsing.schp.backend import SchpParser, create_schp

SMALL = 65
NO_FP16 = r"parse\.settings\.precision: fp16 needs a CUDA device, the device here is cpu; use bf16 or fp32"


@pytest.fixture
def small_parser(lip_network):
    return SchpParser(lip_network, SMALL, LIP)


def directly(network, image, size):
    """The published extractor, step by step, on one image."""
    height, width = image.shape[:2]
    centre, side = np.float32([width - 1, height - 1]) / 2, max(height, width) - 1
    middle = (size - 1) / 2
    image_points = np.float32([centre, centre - [0, side / 2], centre - side / 2])
    input_points = np.float32([[middle, middle], [middle, 0], [0, 0]])
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    warped = cv2.warpAffine(bgr, cv2.getAffineTransform(image_points, input_points), (size, size))
    values = (warped / 255.0 - [0.406, 0.456, 0.485]) / [0.225, 0.224, 0.229]
    with torch.inference_mode():
        logits = network(torch.from_numpy(values.transpose(2, 0, 1)[None].astype(np.float32))).fusion
        large = interpolate(logits, size=(size, size), mode="bilinear", align_corners=True)[0].numpy()
    back = cv2.getAffineTransform(input_points, image_points)
    return np.stack([cv2.warpAffine(each, back, (width, height)) for each in large])


def agrees(parsing, logits):
    """Equal labels but for near ties, and the same confidence."""
    top = np.sort(logits, axis=0)
    clear = top[-1] - top[-2] > 0.05
    assert clear.mean() > 0.9
    assert np.array_equal(parsing.label_map[clear], logits.argmax(0)[clear])
    probability = 1 / np.exp(logits - logits.max(0)).sum(0)
    assert parsing.confidence == pytest.approx(probability[logits.argmax(0) > 0].mean(), abs=1e-2)


def test_labels_are_those_of_the_published_extractor(lip_network, lip_file):
    images = pictures((64, 32), (40, 90), (130, 48))
    expected = [directly(lip_network, image, SMALL) for image in images]
    for parsing, logits in zip(SchpParser(lip_network, SMALL, LIP).parse(images), expected, strict=True):
        assert len(np.unique(parsing.label_map)) > 3
        agrees(parsing, logits)


def test_the_registry_builds_it_at_the_published_size(lip_file, lip_network):
    load_backends("schp")
    parser = create_parser("schp", weights=str(lip_file.parent))
    assert parser.name == "schp"
    assert parser.scheme is LIP
    assert parser.weights_sha256 == sha256_of_file(lip_file)
    image = pictures((256, 128))[0]
    agrees(parser.parse([image])[0], directly(lip_network, image, 473))


@pytest.mark.parametrize("variant", ["atr", "pascal"])
def test_the_other_variants_load_too(variant, tmp_path):
    save_published(tmp_path / FILES[variant], random_tensors(variant))
    parser = create_schp(tmp_path, variant=variant)
    assert parser.scheme.name == variant
    parser._size = SMALL
    parsing = parser.parse(pictures((50, 30)))[0]
    assert parsing.label_map.max() < CLASSES[variant]


def test_label_maps_have_the_images_sizes(small_parser):
    images = pictures((64, 32), (1, 1), (7, 300))
    for image, parsing in zip(images, small_parser.parse(images), strict=True):
        assert parsing.label_map.shape == image.shape[:2]
        assert parsing.label_map.dtype == np.uint8
        assert parsing.label_map.max() < 20
        assert 0 <= parsing.confidence <= 1
    assert small_parser.parse([]) == []


def test_an_image_does_not_depend_on_its_neighbours(small_parser):
    images = pictures((64, 32), (40, 90), (64, 32))
    together = small_parser.parse(images)
    for image, parsing in zip(images, together, strict=True):
        alone = small_parser.parse([image])[0]
        assert np.array_equal(alone.label_map, parsing.label_map)
        assert alone.confidence == parsing.confidence


def test_a_batch_of_fixed_size_gives_what_single_images_give(small_parser):
    """What other devices do: batches that are filled up. Kernels may round differently here, so up to near ties."""
    images = pictures((64, 32), (40, 90), (64, 32))
    alone = small_parser.parse(images)
    small_parser._batch_size = 2
    for one, other in zip(alone, small_parser.parse(images), strict=True):
        assert np.mean(one.label_map != other.label_map) < 0.01
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_bf16_is_close_and_fp16_needs_another_device(lip_network, lip_file):
    images = pictures((64, 32), (90, 40))
    short = SchpParser(lip_network, SMALL, LIP, precision="bf16").parse(images)
    full = create_schp(lip_file)
    full._size = SMALL
    for one, other in zip(short, full.parse(images), strict=True):
        assert 0 < np.mean(one.label_map != other.label_map) < 0.2
    with pytest.raises(InputError, match=NO_FP16):
        create_schp(lip_file, precision="fp16")


def test_the_identity_is_known_without_the_device_that_the_precision_needs(lip_file):
    load_backends("schp")
    settings = {"weights": str(lip_file), "precision": "fp16"}
    identity = identify_parser("schp", **settings)
    assert (identity.scheme, identity.weights_sha256) == (LIP, sha256_of_file(lip_file))
    check_device("schp", "cuda", **settings)
    with pytest.raises(InputError, match=NO_FP16):
        check_device("schp", "cpu", **settings)
    with pytest.raises(InputError, match="weights of the parser schp not found"):
        identify_parser("schp", weights=str(lip_file.parent / "no.pth"))


def test_what_is_no_image_is_the_callers_mistake(small_parser):
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            small_parser.parse([image])


def test_weights_must_be_named():
    load_backends("schp")
    with pytest.raises(InputError, match=r"weights must be given \(parse\.settings\.weights\)"):
        create_parser("schp")
