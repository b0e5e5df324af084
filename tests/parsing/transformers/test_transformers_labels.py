"""Class names of models turned into label schemes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers_samples import ATR_LIKE, FASHN

from pipeline.errors import InputError
from pipeline.garments import is_garment, normalise_name
from pipeline.labels import ATR, LIP, PASCAL, LabelScheme
from pipeline.parsing.transformers.labels import ModelLabels, class_names, mapped_labels, own_labels


def test_the_public_clothes_model_has_atr_itself():
    assert own_labels("segformer_b2_clothes", ATR_LIKE) == ModelLabels(ATR, tuple(range(18)))


def test_the_public_fashion_parser_has_its_own_scheme_with_its_garments():
    labels = own_labels("fashn-human-parser", FASHN)
    assert labels.scheme.name == "fashn-human-parser"
    assert labels.scheme.labels == tuple(FASHN)
    assert labels.numbers == tuple(range(18))
    covered = [labels.scheme.labels[number] for number in sorted(labels.scheme.clothes_labels(None))]
    assert covered == ["top", "dress", "skirt", "pants", "belt"]


def test_a_background_elsewhere_becomes_number_zero():
    labels = own_labels("Mine", ["Shirt", "Hair", "Background", "T_shirt"])
    assert labels.scheme == LabelScheme("mine", ("background", "shirt", "hair", "t-shirt"), frozenset({1, 3}))
    assert labels.numbers == (1, 2, 0, 3)


@given(st.permutations(FASHN))
def test_whatever_the_order_each_class_keeps_its_name(classes):
    labels = own_labels("mine", classes)
    assert labels.scheme.labels[0] == "background"
    assert [labels.scheme.labels[number] for number in labels.numbers] == classes


@pytest.mark.parametrize(
    "name",
    ["Upper-clothes", "upper_clothes", "shirt, blouse", "top, t-shirt, sweatshirt", "Pants", "short sleeve dress",
     "long_sleeved_shirt", "vest dress", "sleeve"],
)  # fmt: skip
def test_garments_are_known(name):
    assert is_garment(name)


@pytest.mark.parametrize("name", ["Bag", "hat", "Left-shoe", "scarf", "torso", "shirt, bag", "bag, wallet", "Face", ""])
def test_other_things_are_no_garments(name):
    assert not is_garment(name)


def test_a_model_without_garments_asks_for_the_labels_to_cover():
    scheme = own_labels("parts", ["background", "head", "torso"]).scheme
    with pytest.raises(InputError, match=r"parts has body parts but no clothes labels.*parse\.clothes_labels"):
        scheme.clothes_labels(None)
    assert scheme.clothes_labels(["torso"]) == {2}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            ["LABEL_0", "LABEL_1"],
            r"model m \(LABEL_0, LABEL_1\) do not tell which one is the background.*settings\.labels",
        ),
        (["background", "void", "shirt"], "do not tell which one is the background"),
        (["background", "Left arm", "left-arm"], r"are not distinct \(left-arm\)"),
        (["background", "--", "shirt"], "are not distinct"),
    ],
)
def test_names_that_do_not_make_a_scheme_are_refused(classes, message):
    with pytest.raises(InputError, match=message):
        own_labels("m", classes)


def test_a_scheme_with_the_same_names_needs_no_map():
    assert mapped_labels(ATR_LIKE[::-1], ATR, {}).numbers == tuple(range(18))[::-1]
    classes = ["background", *PASCAL.labels[1:]]
    assert mapped_labels(classes, PASCAL, {}) == ModelLabels(PASCAL, tuple(range(7)))


def test_classes_are_mapped_by_name_and_several_may_share_a_label():
    labels = mapped_labels(
        ["Background", "Hat", "Upper-clothes", "Bag", "Belt"], LIP, {"Bag": "background", "Belt": "pants"}
    )
    assert labels == ModelLabels(LIP, (0, 1, 5, 0, 9))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, r"lip has no label for the model's classes Belt, Bag; map each .* such as \{Belt: background\}"),
        ({"Belt": "pants"}, "classes Bag; map"),
        (
            {"Belt": "trousers", "Bag": "background"},
            "labels: label scheme lip has no label trousers; it has: background",
        ),
        ({"belt": "pants"}, "labels: the model has no class belt; it has: Background"),
    ],
)
def test_incomplete_and_wrong_maps_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        mapped_labels(ATR_LIKE, LIP, labels)


def test_class_numbers_must_be_complete():
    assert class_names({1: "b", 0: "a"}) == ["a", "b"]
    for broken in ({0: "a", 2: "b"}, {0: "a"}, dict.fromkeys(range(257), "a")):
        with pytest.raises(InputError, match=r"id2label of the model's config\.json must number 2 to 256 classes"):
            class_names(broken)


def test_names_are_normalised():
    assert normalise_name(" Upper_Clothes / top ") == "upper-clothes-top"


def test_a_model_of_garments_alone_is_not_asked_for_heads_and_limbs():
    assert own_labels("x", ["background", "Shirt", "pants"]).scheme.garments_only
    assert not own_labels("x", ["background", "Shirt", "face"]).scheme.garments_only
    shirts = mapped_labels(["background", "shirt", "pants"], LIP, {"shirt": "upper-clothes"})
    assert shirts.scheme.garments_only
    assert shirts.scheme.labels == LIP.labels
    assert not mapped_labels(["background", "shirt", "face"], LIP, {"shirt": "upper-clothes"}).scheme.garments_only
