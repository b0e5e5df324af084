"""The parser behind the protocol, its weights file, and that no image depends on another."""

import copy
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lite_samples import SMALL
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.labels import LIP
from pipeline.parsing import labelling
from pipeline.parsing.backends import load_backends
from pipeline.parsing.lite.backend import LiteParser, create_lite, label, normalise, squeeze, without_bags
from pipeline.parsing.lite.checkpoint import load_lite, save_lite
from pipeline.parsing.lite.targets import BAG_OUTPUT, OUTPUTS
from pipeline.parsing.lite.training.recipe import with_bags
from pipeline.parsing.parser import create_parser


def pictures(*sizes):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


def rewrite(path, tensors=None, about=None):
    """Write the file anew with other tensors or another description."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if about is not None:
        metadata = {"ccaf": json.dumps({**json.loads(metadata["ccaf"]), **about})}
    save_file(load_file(path) if tensors is None else tensors, path, metadata=metadata)


def test_the_registry_builds_it(small_weights):
    load_backends()
    parser = create_parser("lite", weights=str(small_weights))
    assert parser.name == "lite"
    assert parser.scheme is LIP
    assert parser.weights_sha256 == sha256_of_file(small_weights)


def test_label_maps_have_the_images_sizes(small_weights):
    images = pictures((64, 32), (128, 48), (40, 90), (1, 1), (7, 300))
    parsings = create_lite(weights=small_weights).parse(images)
    for image, parsing in zip(images, parsings, strict=True):
        assert parsing.label_map.shape == image.shape[:2]
        assert parsing.label_map.dtype == np.uint8
        assert parsing.label_map.max() < 20
        assert 0 <= parsing.confidence <= 1
    assert create_lite(weights=small_weights).parse([]) == []


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)))
def test_no_image_depends_on_its_neighbours(tmp_path_factory, order, cuts):
    torch.manual_seed(0)
    parser = LiteParser(SMALL.build(), SMALL.size)
    images = pictures((64, 32), (128, 48), (90, 45), (30, 20), (64, 32), (50, 50))
    alone = [parser.parse([image])[0] for image in images]
    edges = [0, *sorted(cuts), 6]
    for start, stop in pairwise(edges):
        places = order[start:stop]
        for place, parsing in zip(places, parser.parse([images[place] for place in places]), strict=True):
            assert np.array_equal(parsing.label_map, alone[place].label_map)
            assert parsing.confidence == alone[place].confidence


def test_filled_up_batches_change_nothing(small_weights):
    """What a GPU gets, batches of a fixed size, gives the labels of single images."""
    network, description = load_lite(small_weights)
    single = LiteParser(network, description.size)
    images = pictures((64, 32), (80, 32), (64, 40))
    expected = single.parse(images)
    single._batch_size = 2
    for parsing, wanted in zip(single.parse(images), expected, strict=True):
        assert (parsing.label_map == wanted.label_map).mean() > 0.999
        assert parsing.confidence == pytest.approx(wanted.confidence, abs=1e-4)


def test_a_network_that_gets_an_output_for_bags_gives_the_same_labels_until_it_learns():
    torch.manual_seed(3)
    network = SMALL.build()
    images = pictures((64, 32), (128, 48))
    before = LiteParser(copy.deepcopy(network), SMALL.size).parse(images)
    wider = with_bags(copy.deepcopy(network))
    assert with_bags(wider) is wider
    assert wider.head.out_channels == OUTPUTS
    for one, other in zip(before, LiteParser(wider, SMALL.size).parse(images), strict=True):
        assert (one.label_map == other.label_map).mean() > 0.999
        assert other.confidence == pytest.approx(one.confidence, abs=1e-4)


def test_margins_are_those_of_an_image_with_repeated_edges(small_weights):
    network, description = load_lite(small_weights)
    plain, wide = (LiteParser(copy.deepcopy(network), description.size, margins=m) for m in ((0.0, 0.0), (0.1, 0.05)))
    images = pictures((60, 20), (121, 33), (3, 40))
    for image, parsing in zip(images, wide.parse(images), strict=True):
        height = len(image)
        above, below = round(0.1 * height), round(0.05 * height)
        tall = np.concatenate([image[:1].repeat(above, 0), image, image[-1:].repeat(below, 0)])
        assert np.array_equal(parsing.label_map, plain.parse([tall])[0].label_map[above : above + height])


def test_margins_are_read_from_the_weights(small_weights):
    assert create_lite(weights=small_weights)._margins == (0.0, 0.0)
    rewrite(small_weights, about={"margins": [0.1, 0.05]})
    assert create_lite(weights=small_weights)._margins == (0.1, 0.05)
    load_backends()
    assert create_parser("lite", weights=str(small_weights), margins=[0.0, 0.2])._margins == (0.0, 0.2)
    for wrong in ([0.1], [0.1, -0.1]):
        with pytest.raises(InputError, match="margins"):
            create_parser("lite", weights=str(small_weights), margins=wrong)
    for wrong in ([0.1], [0.1, -0.1], [0.1, 2.0], "wide"):
        rewrite(small_weights, about={"margins": wrong})
        with pytest.raises(InputError, match="margins"):
            load_lite(small_weights)


def test_bags_are_background(tmp_path):
    torch.manual_seed(3)
    description = replace(SMALL, outputs=OUTPUTS)
    network = description.build()
    with torch.no_grad():
        network.head.bias[BAG_OUTPUT] += 50
    save_lite(tmp_path / "bags.safetensors", network, description)
    assert load_lite(tmp_path / "bags.safetensors")[1].outputs == OUTPUTS
    for parsing in create_lite(weights=tmp_path / "bags.safetensors").parse(pictures((64, 32), (40, 90))):
        assert (parsing.label_map == 0).all()
    logits = torch.randn(2, OUTPUTS, 3, 2, dtype=torch.float64)
    shares = logits.softmax(1)
    expected = torch.cat([shares[:, :1] + shares[:, BAG_OUTPUT:], shares[:, 1:BAG_OUTPUT]], dim=1)
    torch.testing.assert_close(without_bags(logits.clone()).softmax(1), expected)
    rewrite(tmp_path / "bags.safetensors", about={"outputs": OUTPUTS + 1})
    with pytest.raises(InputError, match="outputs"):
        load_lite(tmp_path / "bags.safetensors")


def decide(probabilities):
    """Labels and top probabilities: clothes or not by the sum over the clothes, then the best label of that part."""
    clothes = torch.zeros(20, dtype=torch.bool)
    clothes[list(LIP.clothes)] = True
    is_clothes = probabilities[clothes].sum(0) > 0.5
    allowed = clothes[:, None, None] == is_clothes
    return (probabilities * allowed).argmax(0), probabilities.amax(0)


def test_the_whole_way_agrees_with_torchs_own_operators(small_weights):
    """Unfused network on both views, torch's interpolation and softmax; the network's own size and a larger one."""
    network, description = load_lite(small_weights)
    parser = create_lite(weights=small_weights)
    for image in pictures((64, 32), (150, 61)):
        parsing = parser.parse([image])[0]
        inputs = normalise(torch.from_numpy(squeeze(image, description.size))[None])
        with torch.no_grad():
            mirrored = network(inputs.flip(3)).flip(3)
            places = [*range(14), 15, 14, 17, 16, 19, 18]
            logits = (network(inputs) + mirrored[:, places]) / 2
            scaled = interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)[0]
        labels, top = decide(scaled.softmax(0))
        assert len(labels.unique()) > 3
        assert (parsing.label_map == labels.numpy()).mean() > 0.999
        assert parsing.confidence == pytest.approx(float(top[labels > 0].mean()), abs=1e-3)


def test_garments_together_outvote_the_most_probable_label():
    """Coat or dress, each less probable than background, but clothes together."""
    probabilities = torch.full((20, 1, 3), 1e-6)
    background, dress, coat, hair = 0, 6, 7, 2
    probabilities[[background, dress, coat], 0, 0] = torch.tensor([0.4, 0.25, 0.35])
    probabilities[[background, dress, coat], 0, 1] = torch.tensor([0.6, 0.1, 0.3])
    probabilities[[background, hair, coat], 0, 2] = torch.tensor([0.25, 0.3, 0.45])
    parsing = label(probabilities.log(), 1, 3)
    assert parsing.label_map.tolist() == [[coat, background, hair]]
    assert parsing.confidence == pytest.approx((0.4 + 0.45) / 2, abs=1e-3)


def test_strips_make_no_difference(monkeypatch):
    logits = torch.randn(20, 8, 4, generator=torch.Generator().manual_seed(2))
    whole = label(logits, 37, 21)
    monkeypatch.setattr(labelling, "STRIP_VALUES", 20 * 21 * 5)
    striped = label(logits, 37, 21)
    assert np.array_equal(whole.label_map, striped.label_map)
    assert striped.confidence == pytest.approx(whole.confidence, abs=1e-9)


def test_confidence_is_zero_without_a_person():
    logits = torch.zeros(20, 2, 2)
    logits[0] = 9.0
    assert label(logits, 4, 4).confidence == 0.0


def test_a_mirrored_image_has_the_mirrored_labels(small_weights):
    """Left and right of limbs and shoes change places, and nothing else."""
    parser = create_lite(weights=small_weights)
    image = pictures((64, 32))[0]
    straight, mirrored = parser.parse([image, np.ascontiguousarray(image[:, ::-1])])
    swapped = straight.label_map[:, ::-1].copy()
    for left, right in ((14, 15), (16, 17), (18, 19)):
        was_left, was_right = swapped == left, swapped == right
        swapped[was_left], swapped[was_right] = right, left
    assert len(np.unique(swapped)) > 3
    assert (mirrored.label_map == swapped).mean() > 0.999


def test_squeeze_averages_where_it_shrinks():
    image = np.zeros((8, 8, 3), np.uint8)
    image[::2] = 200  # stripes of one pixel: their mean, not one of them
    assert squeeze(image, (4, 4)).tolist() == np.full((4, 4, 3), 100).tolist()
    assert squeeze(image, (8, 8)) is image


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_image_is_refused(small_weights, image):
    with pytest.raises(ValueError, match="expected uint8"):
        create_lite(weights=small_weights).parse([image])


def test_weights_come_back_within_half_precision(small_weights, tmp_path):
    network, description = load_lite(small_weights)
    assert description == SMALL
    save_lite(tmp_path / "again.safetensors", network, description)
    assert sha256_of_file(tmp_path / "again.safetensors") == sha256_of_file(small_weights)


def damage_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_tensor(path):
    tensors = load_file(path)
    del tensors["head.bias"]
    rewrite(path, tensors)


def reshape_tensor(path):
    rewrite(path, {**load_file(path), "head.bias": torch.zeros(7)})


def spoil_tensor(path):
    rewrite(path, {**load_file(path), "head.bias": torch.full((20,), float("nan"))})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "not found"),
        (lambda path: path.write_bytes(b"no safetensors"), "cannot be read as safetensors"),
        (damage_half, "cannot be read as safetensors"),
        (drop_tensor, r"do not fit.*missing: \['head.bias'\]"),
        (reshape_tensor, "do not fit the lite parser"),
        (spoil_tensor, "not finite"),
        (lambda path: save_file(load_file(path), path), "description is missing or wrong"),
        (lambda path: rewrite(path, about={"format": "other-2"}), "have the format 'other-2'"),
        (lambda path: rewrite(path, about={"size": [60, 32]}), "60 x 32 is not a multiple of 32"),
        (lambda path: rewrite(path, about={"size": "large"}), "description is missing or wrong"),
        (
            lambda path: rewrite(path, about={"widths": [4, 8, 8]}),
            "no known network: 'tiny' .* 3 decoder",
        ),
        (lambda path: rewrite(path, about={"backbone": "resnet"}), "no known network: 'resnet'"),
        (lambda path: rewrite(path, about={"stages": 3}), "no known network: .* with 3 stages"),
        (lambda path: rewrite(path, about={"widths": [8, 8, 8, 8, 16]}), "do not fit"),
    ],
)
def test_wrong_weights_are_the_users_fault_and_named(small_weights, damage, message):
    damage(small_weights)
    with pytest.raises(InputError, match=message) as caught:
        create_lite(weights=small_weights)
    assert str(small_weights) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"height": 3}, r"height is not one of its settings \(weights, batch_size, backend, margins\)"),
        ({"batch_size": 0}, "batch_size = 0: .*greater than or equal to 1"),
        ({"batch_size": "many"}, "batch_size = 'many'"),
        ({"weights": 7}, "weights = 7"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        create_parser("lite", **wrong)
