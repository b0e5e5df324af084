"""Label schemes: numbers, defaults, and the messages where a scheme cannot serve."""

import pytest

from pipeline.errors import InputError
from pipeline.labels import ATR, CIHP, LIP, PASCAL, SCHEMES, find_scheme


@pytest.mark.parametrize(("scheme", "count"), [(LIP, 20), (CIHP, 20), (ATR, 18), (PASCAL, 7)])
def test_schemes_have_their_published_sizes(scheme, count):
    assert len(scheme.labels) == len(set(scheme.labels)) == count
    assert scheme.labels[0] == "background"
    assert SCHEMES[scheme.name] is scheme


def test_default_clothes_are_garments_by_name():
    assert {LIP.labels[number] for number in LIP.clothes} == {
        "upper-clothes", "dress", "coat", "pants", "jumpsuits", "skirt",
    }  # fmt: skip
    assert {ATR.labels[number] for number in ATR.clothes} == {"upper-clothes", "skirt", "pants", "dress", "belt"}


def test_cihp_has_skin_where_lip_has_jumpsuits():
    assert [number for number in range(20) if CIHP.labels[number] != LIP.labels[number]] == [10]
    assert CIHP.labels[10] == "torso-skin"
    assert {CIHP.labels[number] for number in CIHP.clothes} == {"upper-clothes", "dress", "coat", "pants", "skirt"}


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


MINE = {"name": "mine", "labels": ["background", "body", "robe"], "clothes": ["robe"]}


def test_a_scheme_is_found_by_name_by_file_or_in_place(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nlabels: [background, body, robe]\nclothes: [robe]\n")
    assert find_scheme("atr") is ATR
    assert find_scheme(str(path)) == find_scheme(MINE)
    assert find_scheme(MINE).labels == ("background", "body", "robe")
    assert find_scheme(MINE).clothes_labels(None) == {2}


def test_a_scheme_may_say_that_there_are_garments_only():
    assert find_scheme({**MINE, "garments_only": True}).garments_only
    assert not find_scheme(MINE).garments_only
    assert not any(scheme.garments_only for scheme in SCHEMES.values())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lib", "unknown label scheme 'lib'; known: lip, cihp, atr, pascal, or a YAML file"),
        ("none.yaml", "label scheme not found: none.yaml"),
        ({**MINE, "labels": ["background"]}, "labels: .*at least 2"),
        ({**MINE, "labels": ["background", "robe", "robe"]}, "the label robe is listed twice"),
        ({**MINE, "clothes": ["coat"]}, "mine has no label coat"),
        ({**MINE, "clothes": ["background"]}, "background has number 0 and means nobody"),
        ({**MINE, "colour": "red"}, "colour: Extra inputs"),
        ({"labels": ["a", "b"]}, "name: Field required"),
    ],
)
def test_wrong_descriptions_are_refused(value, message):
    with pytest.raises(InputError, match=message):
        find_scheme(value)


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("labels: [a\n")
    with pytest.raises(InputError, match="cannot be read as YAML: line 2"):
        find_scheme(str(path))


@pytest.mark.parametrize("scheme", [LIP, PASCAL])
def test_the_background_is_never_clothes(scheme):
    with pytest.raises(InputError, match="background has number 0 and means nobody"):
        scheme.clothes_labels([scheme.labels[1], "background"])
