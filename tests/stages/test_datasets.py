"""The command ``datasets``: the table, what is present, one data set in detail."""

import json
from pathlib import Path

import pytest

from pipeline.datasets.catalog import dataset_names, load_facts
from stages.cli import run


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with all folders of walkers, some of PRCC, and something else under the name of LTCC."""
    for name in ("walkers/train", "walkers/query", "walkers/gallery", "PRCC/rgb/train", "ltcc/other"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CCAF_DATA", raising=False)
    return tmp_path


def states(text: str) -> dict[str, str]:
    known = ("present", "incomplete", "absent", "unknown")
    lines = [line.split() for line in text.splitlines()[1:]]
    return {line[0]: next(word for word in line if word in known) for line in lines}


def test_table_says_what_is_present(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "--root", str(root)]) == 0
    expected = dict.fromkeys(dataset_names(), "absent") | {"walkers": "present", "prcc": "incomplete"}
    assert states(capsys.readouterr().out) == expected


def test_environment_names_the_root_too(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAF_DATA", str(root))
    assert run(["datasets"]) == 0
    assert states(capsys.readouterr().out)["walkers"] == "present"


def test_without_a_root_nothing_is_claimed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets"]) == 0
    output = capsys.readouterr()
    assert set(states(output.out).values()) == {"unknown"}
    assert "no data root: give it by --root, data.root or CCAF_DATA" in output.err


def test_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "--root", str(root), "--json", "--quiet"]) == 0
    output = capsys.readouterr()
    value = json.loads(output.out)
    by_name = {entry["name"]: entry for entry in value["datasets"]}
    assert value["root"] == str(root)
    assert sorted(by_name) == dataset_names()
    assert by_name["walkers"]["found"] == str(root / "walkers")
    assert by_name["prcc"]["missing"] == ["rgb/val", "rgb/test/A", "rgb/test/B", "rgb/test/C"]
    assert by_name["ltcc"]["found"] is None
    assert by_name["deepchange"]["roles"]["val"] == ["val_query", "val_gallery"]
    assert "COCAS+" in [entry["title"] for entry in value["not_included"]]
    assert output.err == ""


def test_what_is_not_included_is_told_with_its_reason(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "--root", str(root)]) == 0
    assert "not included (DLCR, COCAS, COCAS+, SYSU-30k, " in capsys.readouterr().err
    assert run(["datasets", "--dataset", "cocas"]) == 2
    assert "COCAS has no data set file: there is no download" in capsys.readouterr().err


def test_one_data_set_in_detail(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "--dataset", "prcc", "--root", str(root)]) == 0
    entries = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    entries = {key: value.strip() for key, value in entries.items()}
    assert entries["state"] == f"incomplete in {root}/PRCC; rgb/val, rgb/test/A, rgb/test/B, rgb/test/C are missing"
    assert entries["query"] == "test_b, test_c"
    assert entries["published, train"] == "150 identities, 17,896 images"
    assert entries["published, test_a"] == "3,384 images"
    assert entries["home"].startswith("https://")
    assert {"access", "terms", "layout", "protocols"} <= entries.keys()


def test_a_number_that_could_not_be_verified_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = load_facts("prcc").model_dump(mode="json")
    facts["counts"] = [{"of": "test_a", "images": 3384, "cameras": 1, "uncertain": ["images"]}]
    (tmp_path / "mine.yaml").write_text(json.dumps(facts))
    assert run(["datasets", "--dataset", str(tmp_path / "mine.yaml"), "--root", str(tmp_path)]) == 0
    assert "published, test_a  3,384 images (not verified), 1 cameras\n" in capsys.readouterr().out


def test_unknown_data_sets_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "--dataset", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("error: data set 'nothing' is not known")
