"""Label schemes: numbers, defaults, and the messages where a scheme cannot serve."""

import pytest

from pipeline.errors import InputError
from pipeline.parsing.schemes import ATR, LIP, PASCAL, SCHEMES


@pytest.mark.parametrize(("scheme", "count"), [(LIP, 20), (ATR, 18), (PASCAL, 7)])
def test_schemes_have_their_published_sizes(scheme, count):
    assert len(scheme.labels) == len(set(scheme.labels)) == count
    assert scheme.labels[0] == "background"
    assert SCHEMES[scheme.name] is scheme


def test_default_clothes_are_garments_by_name():
    assert {LIP.labels[number] for number in LIP.clothes} == {
        "upper-clothes", "dress", "coat", "pants", "jumpsuits", "skirt",
    }  # fmt: skip
    assert {ATR.labels[number] for number in ATR.clothes} == {"upper-clothes", "skirt", "pants", "dress", "belt"}


def test_named_labels_win_over_the_default():
    assert LIP.clothes_labels(None) == LIP.clothes
    assert LIP.clothes_labels(["scarf", "hat"]) == {11, 1}
    assert PASCAL.clothes_labels(["torso"]) == {2}


def test_pascal_has_no_clothes_and_says_why():
    with pytest.raises(InputError, match=r"body parts but no clothes labels.*parse.clothes_labels"):
        PASCAL.clothes_labels(None)


def test_unknown_and_missing_names_are_refused():
    with pytest.raises(InputError, match="no label trousers; it has: background, hat"):
        LIP.numbers_of(["pants", "trousers"])
    with pytest.raises(InputError, match="empty"):
        LIP.clothes_labels([])
