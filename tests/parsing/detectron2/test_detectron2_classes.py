"""Presets and class maps."""

import pytest

from pipeline.errors import InputError
from pipeline.labels import CIHP, LIP, find_scheme
from pipeline.parsing.detectron2.classes import PRESET_NAMES, PRESETS, load_preset, map_classes

COUNTS = {"deepfashion2": 13, "modanet": 13, "fashionpedia": 46, "cihp": 20, "lip": 20}
"""Classes of each data set, as published: without background for the three of instances, with it for the other two."""


def test_every_preset_is_packaged_and_the_other_way_round():
    configs = {load_preset(name).config for name in PRESET_NAMES}
    assert {path.name for path in PRESETS.iterdir()} == {f"{name}.yaml" for name in PRESET_NAMES} | configs
    assert set(COUNTS) == set(PRESET_NAMES)


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_presets_have_the_published_number_of_classes_and_known_labels(name, count):
    preset = load_preset(name)
    assert len(preset.classes) == count
    lines = (PRESETS / f"{name}.yaml").read_text().split("\nclasses:\n")[1].strip().splitlines()
    assert len(lines) == count, "a class is written twice"
    mapped = map_classes(preset, None, None, None, None)
    labels = find_scheme(preset.scheme).labels
    assert [None if target is None else labels[target] for target in mapped.targets] == list(preset.classes.values())
    assert mapped.scheme.clothes & set(mapped.targets)
    assert mapped.scheme.garments_only == (preset.head == "instances")
    assert (mapped.targets[0] == 0) == (preset.head == "sem_seg")


@pytest.mark.parametrize(("name", "first", "last"), [
    ("deepfashion2", "short sleeve top", "sling dress"),
    ("modanet", "bag", "scarf & tie"),
    ("fashionpedia", "shirt, blouse", "tassel"),
    ("cihp", "Background", "Right-shoe"),
    ("lip", "Background", "Right-shoe"),
])  # fmt: skip
def test_presets_keep_the_data_sets_order(name, first, last):
    names = list(load_preset(name).classes)
    assert (names[0], names[-1]) == (first, last)


def test_the_preset_and_the_scheme_of_cihp_are_one():
    preset = map_classes(load_preset("cihp"), None, None, None, None)
    assert (preset.scheme.labels, preset.scheme.clothes) == (CIHP.labels, CIHP.clothes)


def test_lip_and_cihp_differ_in_number_ten_only():
    lip, cihp = (map_classes(load_preset(name), None, None, None, None) for name in ("lip", "cihp"))
    assert lip.targets == cihp.targets == tuple(range(20))
    assert lip.scheme == LIP
    different = [number for number in range(20) if lip.scheme.labels[number] != cihp.scheme.labels[number]]
    assert different == [10]
    assert lip.scheme.clothes - cihp.scheme.clothes == {10}


def test_the_user_wins_over_a_preset():
    preset = load_preset("modanet")
    mapped = map_classes(preset, ["top", "belt", "bag"], {"belt": None, "bag": "hat"}, None, False)
    assert mapped.targets == (5, None, 1)
    assert not mapped.scheme.garments_only


def test_a_scheme_may_be_described_in_place():
    scheme = {"name": "mine", "labels": ["none", "cloth"], "clothes": ["cloth"]}
    mapped = map_classes(None, ["x", "y"], {"x": "cloth", "y": "none"}, scheme, None)
    assert (mapped.targets, mapped.scheme.name) == ((1, 0), "mine")
    assert mapped.scheme.garments_only, "every painted label is one of clothes"


def test_a_map_with_body_parts_finds_more_than_garments():
    assert not map_classes(None, ["x", "y"], {"x": "pants", "y": "face"}, None, None).scheme.garments_only


@pytest.mark.parametrize(("classes", "labels", "message"), [
    (None, None, "needs class names"),
    (["a", "a"], {"a": "hat"}, "'a' is listed twice"),
    (["a", "b"], {"a": "hat"}, "does not map b; give each class a label, or null"),
    (["a"], {"a": "hut"}, "label 'hut', which the scheme lip does not have; it has: background"),
    (["a"], {"a": "hat", "z": "hat"}, "'z' is not a class; the classes are: a"),
    (["a"], {"a": None}, "no class a label other than"),
    (["a"], {"a": "background"}, "no class a label other than"),
])  # fmt: skip
def test_wrong_maps_are_refused(classes, labels, message):
    with pytest.raises(InputError, match=message):
        map_classes(None, classes, labels, None, None)


def test_unknown_presets_are_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"unknown preset 'deepfashion' .*; known: cihp, deepfashion2"):
        load_preset("deepfashion")
