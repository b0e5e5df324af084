"""The facts of the data sets, where they are looked up, and where data sets are found."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pipeline.datasets.catalog import (
    DatasetFacts,
    Role,
    UnknownDatasetError,
    dataset_folder,
    dataset_names,
    find_below,
    load_facts,
    missing_markers,
    read_dataset,
    sets_not_included,
)
from pipeline.datasets.not_included import plain_name
from pipeline.errors import InputError

NAMES = [
    "ccpg", "ccvid", "celeb_reid", "celeb_reid_light", "chirla_long_term", "chirla_multi_camera",
    "chirla_multi_camera_long_term", "chirla_reappearance", "deepchange", "iust_personreid", "last", "ltcc",
    "market1501", "mevid", "nkup", "nkup_plus", "pku_reid_74", "prcc", "real28", "vcclothes", "vccr", "walkers",
]  # fmt: skip
TEST_ONLY = [name for name in NAMES if name.startswith("chirla_")] + ["real28"]
PROTOCOLS = {
    "general", "cc", "sc", "prcc:sc", "prcc:cc", "vcclothes:general", "vcclothes:sc", "vcclothes:cc", "deepchange",
    "last", "celeb", "ccvid:general", "ccvid:cc", "market1501", "mevid:general", "mevid:cc", "mevid:sc",
    "vccr:general", "vccr:cc", "vccr:sc", "ccpg:cl", "ccpg:up", "ccpg:dn", "ccpg:bg", "chirla",
    "nkup_plus:same", "nkup_plus:moderate", "nkup_plus:dramatic",
}  # fmt: skip


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def tree(**changes: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "title": "Mine",
        "reader": "ltcc",
        "home": "-",
        "access": "by post",
        "terms": "-",
        "layout": "as LTCC",
        "markers": ["train", "query"],
        "roles": {"train": ["train"], "query": ["query"], "gallery": ["gallery"]},
        "protocols": ["cc"],
        **changes,
    }


def test_all_data_sets_are_known_wherever_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dataset_names() == NAMES
    monkeypatch.chdir(tmp_path)
    assert dataset_names() == NAMES
    assert load_facts("prcc").title == "PRCC"


@pytest.mark.parametrize("name", NAMES)
def test_facts_agree_with_themselves(name: str) -> None:
    facts = load_facts(name)
    assert facts.name == name
    splits = [split for splits in facts.roles.values() for split in splits]
    assert len(splits) == len(set(splits))
    assert {"query", "gallery"} <= facts.roles.keys() <= set(get_args(Role))
    assert ("train" in facts.roles) != (name in TEST_ONLY)
    assert facts.protocols
    assert set(facts.protocols) <= PROTOCOLS
    for entry in facts.counts:
        assert entry.of == "all" or set(entry.splits or [entry.of]) <= set(splits)
        assert all(getattr(entry, quantity) is not None for quantity in entry.uncertain)


def test_published_parts_add_up() -> None:
    for name, parts in {
        "prcc": ["train", "val", "test"],
        "ltcc": ["train", "query", "gallery"],
        "vcclothes": ["train", "query", "gallery"],
        "deepchange": ["train", "val_query", "val_gallery", "query", "gallery"],
    }.items():
        counts = {entry.of: entry for entry in load_facts(name).counts}
        assert sum(counts[part].images or 0 for part in parts) == counts["all"].images
    prcc = {entry.of: entry.images or 0 for entry in load_facts("prcc").counts}
    assert prcc["test_a"] + prcc["test_b"] + prcc["test_c"] == prcc["test"]
    ccvid = {entry.of: entry.tracklets or 0 for entry in load_facts("ccvid").counts}
    assert ccvid["train"] + ccvid["query"] + ccvid["gallery"] == ccvid["all"]
    vccr = {entry.of: entry for entry in load_facts("vccr").counts}
    assert vccr["train"].tracklets + vccr["query"].tracklets + vccr["gallery"].tracklets == vccr["all"].tracklets
    assert vccr["train"].identities + vccr["test"].identities == vccr["all"].identities
    real28 = {entry.of: entry.images or 0 for entry in load_facts("real28").counts}
    assert real28["query"] + real28["gallery"] == real28["all"]
    for name in NAMES:
        if name.startswith("chirla_"):
            chirla = {entry.of: entry.images or 0 for entry in load_facts(name).counts}
            assert sum(chirla[of] for of in ("val_query", "val_gallery", "queries", "galleries")) == chirla["all"]
    pku = {entry.of: entry.images or 0 for entry in load_facts("pku_reid_74").counts}
    assert pku["train"] + pku["query"] + pku["gallery"] == pku["all"]


CONFIRMED = {
    "prcc": {"test_a": 3_384, "test_b": 3_873, "test_c": 3_543},
    "deepchange": {"train": 75_083, "val_query": 4_976, "val_gallery": 17_865, "query": 17_527, "gallery": 62_956},
    "last": {"val_query": 100, "val_gallery": 21_279, "query": 10_176, "gallery": 125_353},
}


@pytest.mark.parametrize("name", CONFIRMED)
def test_confirmed_numbers_of_images_fail_strict_where_they_differ(name: str) -> None:
    counts = {entry.of: entry for entry in load_facts(name).counts}
    assert {of: counts[of].images for of in CONFIRMED[name]} == CONFIRMED[name]
    assert not any(entry.uncertain for entry in counts.values())


def test_confirmed_numbers_of_ccvid() -> None:
    counts = {entry.of: entry for entry in load_facts("ccvid").counts}
    assert (counts["all"].identities, counts["all"].tracklets) == (226, 2_856)
    assert counts["train"].identities + counts["test"].identities == counts["all"].identities
    assert not any(entry.uncertain for entry in counts.values())


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("LTCC", "ltcc"),
        ("VC-Clothes", "vcclothes"),
        ("Celeb-reID-light", "celeb_reid_light"),
        ("Market-1501", "market1501"),
        ("NKUP", "nkup"),
        ("NKUP+", "nkup_plus"),
        ("IUST_PersonReId", "iust_personreid"),
    ],
)
def test_case_and_punctuation_of_names_do_not_count(spelling: str, name: str) -> None:
    assert load_facts(spelling).name == name


def test_the_users_own_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "ltcc.yaml").write_text(yaml.safe_dump(tree(name="ltcc", title="My LTCC")))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree()))
    assert load_facts("ltcc", folder=tmp_path).title == "My LTCC"
    assert load_facts("prcc", folder=tmp_path).title == "PRCC"
    assert dataset_names(tmp_path) == sorted([*NAMES, "mine"])
    assert load_facts(str(tmp_path / "mine.yaml")) == load_facts("mine", folder=tmp_path)


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(InputError, match=r"^data set 'CHIRLA' is not known; did you mean chirla_long_term or chirla_m"):
        load_facts("CHIRLA")
    with pytest.raises(InputError, match=r"^data set 'PKU-Reid' is not known; did you mean pku_reid_74\?$"):
        load_facts("PKU-Reid")
    with pytest.raises(InputError, match=r"data set 'prc' is not known; known are ccpg, ccvid, .*, prcc, .*YAML file"):
        load_facts("prc")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cocas", "COCAS has no data set file: there is no download"),
        ("COCAS+", r"COCAS\+ has no data set file: .*unanswered since 2024"),
        ("dlcr", "DLCR has no data set file: .* ccaf-pipeline dlcr puts them beside one"),
        ("sysu_30k", "SYSU-30k has no data set file: it can be downloaded, but"),
    ],
)
def test_sets_that_are_not_included_say_why(name: str, said: str) -> None:
    with pytest.raises(UnknownDatasetError, match=said):
        load_facts(name)


def test_what_is_not_included_has_no_file(tmp_path: Path) -> None:
    listed = [plain_name(name) for entry in sets_not_included() for name in entry.names]
    assert len(set(listed)) == len(listed)
    assert not set(listed) & {plain_name(name) for name in NAMES}
    (tmp_path / "cocas.yaml").write_text(yaml.safe_dump(tree(name="cocas")))
    assert load_facts("COCAS", folder=tmp_path).title == "Mine"  # a file of one's own is taken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "data set file not found"),
        ("[1", "cannot be read as YAML"),
        ("text", "valid dictionary"),
        (yaml.safe_dump(tree(reader="lost")), "reader 'lost' is not known; known are ccvid, "),
        (yaml.safe_dump(tree(folders="x")), "folders: Extra inputs are not permitted"),
        (yaml.safe_dump(tree(name="A b")), "name: String should match"),
        (yaml.safe_dump(tree(settings={"table": "t.csv"})), r"settings\.table: Extra inputs are not permitted"),
        (yaml.safe_dump(tree(reader="custom")), r"settings\.table: Field required"),
        (yaml.safe_dump(tree(reader="custom", settings={"table": "", "columns": {"x": ""}})), r"settings\.columns\.x:"),
        (yaml.safe_dump(tree(counts=[{"of": "train", "people": 3}])), r"counts\.0\.people: Extra inputs"),
        (yaml.safe_dump(tree(roles={"test": ["x"]})), r"roles\.test: Input should be 'train'"),
        (yaml.safe_dump(tree(reader="chirla")), r"settings\.scenario: Field required"),
        (yaml.safe_dump(tree(reader="pattern")), r"settings\.rules: Field required"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_in_words(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_facts(str(path))


def test_a_file_must_be_called_as_its_data_set(tmp_path: Path) -> None:
    (tmp_path / "yours.yaml").write_text(yaml.safe_dump(tree()))
    with pytest.raises(InputError, match="names itself 'mine'"):
        load_facts("yours", folder=tmp_path)


def test_the_root_option_wins_over_the_environment(tmp_path: Path) -> None:
    facts = DatasetFacts.model_validate(tree(folder="here", other_folders=["There"]))
    environment = {"CCAF_DATA": str(tmp_path / "b")}
    assert dataset_folder(facts, str(tmp_path / "a"), environment) == tmp_path / "a/here"
    assert dataset_folder(facts, None, environment) == tmp_path / "b/here"


def test_without_a_root_the_three_ways_are_named() -> None:
    with pytest.raises(InputError, match=r"--root, by data\.root in params\.yaml, or .* CCAF_DATA"):
        dataset_folder(load_facts("ltcc"), None, {"CCAF_DATA": ""})


def test_folders_by_the_name_of_the_archive_and_the_root_itself(tmp_path: Path) -> None:
    facts = load_facts("ltcc")
    assert find_below(facts, tmp_path) is None
    touch(tmp_path, "train/x", "query/x", "test/x")
    assert dataset_folder(facts, str(tmp_path), {}) == tmp_path
    touch(tmp_path, "LTCC_ReID/train/x")
    assert dataset_folder(facts, str(tmp_path), {}) == tmp_path / "LTCC_ReID" == find_below(facts, tmp_path)
    touch(tmp_path, "ltcc/train/x")
    assert dataset_folder(facts, str(tmp_path), {}) == tmp_path / "ltcc"
    assert missing_markers(facts, tmp_path / "ltcc") == ["query", "test"]


def test_absent_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    facts = DatasetFacts.model_validate(tree())
    with pytest.raises(InputError, match=r"Mine not found: there is no folder .*mine; how to get it: by post"):
        read_dataset(facts, tmp_path / "mine")
    touch(tmp_path, "mine/readme.txt")
    with pytest.raises(InputError, match="does not look like Mine: it holds none of train, query"):
        read_dataset(facts, tmp_path / "mine")
    touch(tmp_path, "mine/train/1.png", "mine/train/2.png")
    with pytest.raises(InputError, match=r"2 names do not, such as train/1\.png; expected: as LTCC"):
        read_dataset(facts, tmp_path / "mine")


def test_missing_parts_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "train/1_1_c1_1.png")
    assert read_dataset(load_facts("ltcc"), tmp_path).problems == ("query is missing", "test is missing")


def test_identities_in_train_and_test_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "train/1_1_c1_1.png", "train/2_1_c1_1.png", "query/2_1_c1_1.png", "test/2_1_c2_1.png")
    assert read_dataset(load_facts("ltcc"), tmp_path).problems == ("1 identities are in both train and test: 2",)


def test_persons_that_are_nobody_are_no_leak(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "bounding_box_train/0000_c1s1_1_1.jpg",
        "query/0001_c1s1_1_1.jpg",
        "bounding_box_test/0000_c1s1_1_1.jpg",
    )
    assert read_dataset(load_facts("market1501"), tmp_path).problems == ()


def test_the_example_for_own_data_is_accepted(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "data_manifests/README.md").read_text()
    example = text.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "shop.yaml").write_text(example)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/1.jpg").touch()
    (tmp_path / "shop/images.csv").write_text("file,split,customer,lens\n1.jpg,1,7,2\n")
    facts = load_facts(str(tmp_path / "shop.yaml"))
    listing = read_dataset(facts, dataset_folder(facts, str(tmp_path), {}))
    row = listing.manifest.to_pylist()[0]
    assert (row["image_id"], row["person_id"], row["camera_id"]) == ("query/1.jpg", 7, 2)
