"""The requirements that make test-oldest and make test-latest install, against the reader of the packaging library."""

import tomllib
from pathlib import Path

import pytest
from dependency_bounds import beyond, lowest, newest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def declared(*extras):
    """Requirements of the package and of extras, by name."""
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][each] for each in extras)]
    found = {}
    for requirement in (Requirement(each) for group in groups for each in group):
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_the_lowest_releases_are_in_the_declared_ranges_and_at_their_lower_end():
    requirements = declared("transformers", "train-parser", "export", "hub", "serve", "docs", "dev")
    requirements.pop("ccaf-pipeline")
    pinned = {canonicalize_name(name): release for name, release in (each.split("==") for each in lowest(PROJECT))}
    assert pinned.keys() == requirements.keys()
    for name, release in pinned.items():
        bounds = [bound for each in requirements[name] for bound in each.specifier if bound.operator == ">="]
        assert len(bounds) == len(requirements[name]), name
        assert Version(release) == max(Version(bound.version) for bound in bounds), name
        assert all(each.specifier.contains(release) for each in requirements[name]), name


def test_the_newest_releases_are_asked_for_without_upper_bounds_with_the_extras_of_extras():
    found = [Requirement(each) for each in newest(PROJECT, ["dev", "segformer"])]
    wanted = declared("transformers", "train-parser", "export", "hub", "serve", "docs", "dev")
    wanted.pop("ccaf-pipeline")
    assert {canonicalize_name(each.name) for each in found} == wanted.keys()
    assert {bound.operator for each in found for bound in each.specifier} == {">="}
    assert {"train", "default"} == {extra for each in found if each.name == "ray" for extra in each.extras}
    assert {canonicalize_name(Requirement(each).name) for each in newest(PROJECT, [])} == declared().keys()


def test_two_bounds_of_one_package_give_the_higher_and_none_is_refused():
    extras = {"optional-dependencies": {"more": ["one[part]>=1.10,<3", "two>=1"]}}
    assert lowest({"dependencies": ["one>=1.9.2,<2"], **extras}) == ["one==1.10", "two==1"]
    with pytest.raises(ValueError, match="one<2 has no lower bound"):
        lowest({"dependencies": ["one<2"], **extras})


def test_what_is_newer_than_allowed_is_named():
    extras = {"optional-dependencies": {"more": ["pytest>=1,<2", "not-there-at-all>=1,<2"]}}
    (line,) = beyond({"dependencies": ["packaging>=1", f"numpy>=1,<{10**6}"], **extras})
    assert line == f"pytest {pytest.__version__} is newer than pyproject.toml allows (<2)"
