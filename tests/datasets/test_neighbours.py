"""A folder one level too high or too low: the message names the right one."""

from pathlib import Path

import pytest

from pipeline.datasets.catalog import DatasetFacts, dataset_folder, load_facts, read_dataset
from pipeline.datasets.neighbours import LOOKED_INTO, check_level, folders_near
from pipeline.errors import InputError


@pytest.fixture
def ltcc(tmp_path: Path) -> Path:
    """A root that holds LTCC under its authors' name."""
    for name in ("train", "query", "test"):
        (tmp_path / "sets" / "LTCC_ReID" / name).mkdir(parents=True)
        (tmp_path / "sets" / "LTCC_ReID" / name / "001_1_c1_000001.png").touch()
    return tmp_path / "sets"


def refusal(facts: DatasetFacts, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_dataset(facts, dataset_folder(facts, str(root), {}))
    return str(caught.value)


def test_the_right_root_is_named_from_above_and_from_below(ltcc: Path) -> None:
    facts = load_facts("ltcc")
    right = ltcc / "LTCC_ReID"
    assert dataset_folder(facts, str(ltcc), {}) == dataset_folder(facts, str(right), {}) == right
    for root in (ltcc.parent, right / "train", right / "no"):
        message = refusal(facts, root)
        named = message.rpartition("give --root ")[2]
        assert f"there is one in {right}" in message
        assert dataset_folder(facts, named, {}) == right, "the advice works"


def test_an_archive_that_unpacked_into_a_folder_of_its_own_name_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "my sets" / "ltcc" / "ltcc"
    for name in ("train", "query", "test"):
        (inner / name).mkdir(parents=True)
    message = refusal(load_facts("ltcc"), tmp_path / "my sets")
    assert "does not look like LTCC" in message
    assert message.endswith(f"give --root '{inner.parent}'")


def test_where_there_is_none_the_message_says_how_to_get_it(tmp_path: Path) -> None:
    facts = load_facts("ltcc")
    message = refusal(facts, tmp_path / "a" / "b" / "c")
    assert message.endswith(f"how to get it: {facts.access}")
    assert "--root" not in message


def test_the_search_is_bounded(tmp_path: Path) -> None:
    for number in range(LOOKED_INTO + 20):
        (tmp_path / "top" / f"{number:03}" / "x" / "y").mkdir(parents=True)
    found = list(folders_near(tmp_path / "top"))
    assert found[:2] == [tmp_path, tmp_path.parent]
    assert len(found) == 2 + 2 * LOOKED_INTO


def test_images_of_a_manifest_below_another_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set" / "images" / "cam1").mkdir(parents=True)
    (tmp_path / "set" / "images" / "cam1" / "a.png").touch()
    paths = ["cam1/gone.png", "cam1/a.png"]
    check_level(tmp_path / "set" / "images", paths)
    check_level(tmp_path / "elsewhere", ["nowhere/to/be/found.png"])  # quarantined one by one, as ever
    for wrong in (tmp_path / "set", tmp_path / "set" / "images" / "cam1"):
        with pytest.raises(InputError) as caught:
            check_level(wrong, paths)
        assert str(caught.value) == (
            f"there is no image cam1/gone.png in {wrong}: the images are below {tmp_path / 'set' / 'images'}"
        )
