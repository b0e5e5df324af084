"""The data set that shards are of: by file, by name, and as their record remembers it."""

import json

import pytest
import yaml

from pipeline.datasets.catalog import UnknownDatasetError, load_facts
from pipeline.errors import InputError
from pipeline.shards.dataset import find_facts, open_shards
from pipeline.shards.reader import ShardReader
from pipeline.shards.record import read_record


@pytest.fixture
def mine(picture_shards, tmp_path, monkeypatch):
    """An empty working folder with the description of the pictures in ``elsewhere/pictures.yaml``."""
    monkeypatch.chdir(tmp_path)
    facts = load_facts("ltcc").model_dump(mode="json") | {"name": "pictures", "title": "Mine"}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "pictures.yaml").write_text(yaml.safe_dump(facts))
    return facts


def copy_shards(picture_shards, folder, **changes):
    """Shards with another record."""
    folder.mkdir(parents=True)
    for file in picture_shards.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    record = json.loads((folder / "_record.json").read_text())
    (folder / "_record.json").write_text(json.dumps(record | changes))
    return folder


def test_a_name_that_is_not_known_is_found_in_the_record(picture_shards, mine, tmp_path):
    shards = copy_shards(picture_shards, tmp_path / "shards", facts=mine)
    assert find_facts("pictures", shards) == load_facts("elsewhere/pictures.yaml")
    reader, facts = open_shards(shards, "pictures")
    assert (len(reader), facts.title) == (36, "Mine")
    with pytest.raises(UnknownDatasetError, match="data set 'pictures' is not known"):
        find_facts("pictures")  # nothing is at the usual place
    copy_shards(picture_shards, tmp_path / "artifacts" / "pictures" / "shards", facts=mine)
    assert find_facts("pictures").title == "Mine"


def test_a_file_wins_over_the_record(picture_shards, mine, tmp_path):
    shards = copy_shards(picture_shards, tmp_path / "shards", facts=mine | {"title": "Older"})
    assert find_facts("elsewhere/pictures.yaml", shards).title == "Mine"
    (tmp_path / "data_manifests").mkdir()
    (tmp_path / "elsewhere" / "pictures.yaml").rename(tmp_path / "data_manifests" / "pictures.yaml")
    assert find_facts("pictures", shards).title == "Mine"


def test_facts_change_nothing_of_what_identifies_the_shards(picture_shards, mine, tmp_path):
    shards = copy_shards(picture_shards, tmp_path / "shards", facts=mine)
    assert read_record(shards).facts == mine
    assert ShardReader(shards).record_sha256 == ShardReader(picture_shards).record_sha256


def test_a_record_without_facts_or_of_another_data_set_does_not_help(picture_shards, mine, tmp_path):
    with pytest.raises(UnknownDatasetError):
        find_facts("pictures", picture_shards)
    other = copy_shards(picture_shards, tmp_path / "other", facts=mine | {"name": "others"})
    with pytest.raises(UnknownDatasetError):
        find_facts("pictures", other)
    with pytest.raises(InputError, match="are of data set pictures, not of others"):
        open_shards(other, "others")


def test_facts_that_do_not_fit_this_version_are_refused_with_their_place(picture_shards, mine, tmp_path):
    shards = copy_shards(picture_shards, tmp_path / "shards", facts=mine | {"reader": "nobody"})
    with pytest.raises(InputError, match=r"the facts of data set pictures in the record of .*reader 'nobody' is not"):
        find_facts("pictures", shards)
