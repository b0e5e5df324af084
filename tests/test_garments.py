"""Names of garments: one vocabulary for default clothes and for redressing."""

import pytest

from pipeline.garments import CLOTHES, GARMENTS, NAMES, REGIONS, SEVERAL, is_garment, normalise_name, region_of
from pipeline.labels import SCHEMES


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("Upper-clothes", "upper"), ("hoodie", "upper"), ("upper clothing", "upper"), ("shirt, blouse", "upper"),
        ("short sleeve top", "upper"), ("lower_clothing", "lower"), ("long sleeve dress", "dress"),
        ("long sleeved outwear", "coat"), ("cape", "coat"), ("left-shoe", "shoes"), ("cap", "hat"),
        ("upper-body", "upper"), ("coat/jacket", "coat"), ("shirt, skirt", None), ("belt", None), ("apparel", None),
        ("bag", None), ("", None),
    ],
)  # fmt: skip
def test_where_a_garment_is_worn(name, region):
    assert region_of(name) == region


def test_each_name_is_known_once_and_as_it_is_written():
    names = [*SEVERAL, *(name for region in REGIONS for name in NAMES[region])]
    assert len(set(names)) == len(names)
    assert all(normalise_name(name) == name for name in names)


def test_every_garment_is_redressed_or_said_to_belong_to_several():
    """What the clothes mask covers by default is either changed, or warned of."""
    assert {name for name in GARMENTS if region_of(name) is None} == SEVERAL
    assert all(is_garment(name) for name in GARMENTS)
    assert not is_garment("upper-body")
    for scheme in SCHEMES.values():
        regions = {region_of(scheme.labels[number]) for number in scheme.clothes} - {None}
        assert regions <= set(CLOTHES)
