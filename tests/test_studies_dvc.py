"""DVC's stages of the studies, for whoever asks; tests/test_demo.py shows that the demo runs none of them."""

import json

import pytest
from dvc_copy import DvcCopy

from pipeline.studies.reading import study_names

FILE = "data_manifests/studies/dvc.yaml"
RECORDER = """#!/bin/sh
# ccaf-pipeline ablate --study NAME
mkdir -p "artifacts/studies/$3"
for ending in json csv md html svg; do echo "{}" > "artifacts/studies/$3/table.$ending"; done
"""


@pytest.fixture(scope="module")
def dvc(tmp_path_factory):
    """A copy of the repository, beside a command that makes empty tables."""
    return DvcCopy(tmp_path_factory.mktemp("copy"), RECORDER)


def test_every_study_is_a_stage_that_can_be_asked_for(dvc):
    listed = dvc("stage", "list", "--name-only", FILE).split()
    assert sorted(listed) == [f"{FILE}:ablate@{name}" for name in study_names()]
    output = dvc("repro", "--dry", f"{FILE}:ablate@table3")
    assert "ccaf-pipeline ablate --study table3" in output
    assert "--study walkers" not in output


def test_a_study_is_out_of_date_when_its_file_changes_and_not_by_what_dvc_writes_beside_it(dvc):
    stages = [f"{FILE}:ablate@{name}" for name in ("walkers", "table3")]
    for stage in stages:
        assert f"Running stage '{stage}'" in dvc("repro", stage)
    assert json.loads(dvc("status", "--json", *stages)) == {}
    with (dvc.folder / "data_manifests" / "studies" / "table3.yaml").open("a") as stream:
        stream.write("# changed\n")
    assert list(json.loads(dvc("status", "--json", *stages))) == stages[1:]


def test_a_study_is_out_of_date_when_the_program_changes_that_decides_its_table(dvc):
    stage = f"{FILE}:ablate@walkers"
    dvc("repro", stage)
    program = dvc.folder / "pipeline"
    for name in ("parsing/schp/network.py", "trainer/timing.py", "models/weights/walker-clip/MODEL_CARD.md"):
        (program / name).write_text("# changed\n")
    assert json.loads(dvc("status", "--json", stage)) == {}
    (program / "studies" / "statistics.py").write_text("# changed\n")
    assert list(json.loads(dvc("status", "--json", stage))) == [stage]


def test_the_study_of_redressed_photographs_reads_what_redress_makes(dvc):
    stage = f"{FILE}:ablate@redressed"
    (dvc.folder / "data" / "walkers-redressed").mkdir(parents=True)
    output = dvc("repro", "--dry", "--single-item", stage)
    options = "--dataset data/walkers-redressed/dataset.yaml --root data --params params.yaml"
    assert f"ccaf-pipeline ablate --study redressed {options} --out artifacts/studies/redressed" in output
    assert "data/walkers-redressed" in dvc("dag", "--outs", "data_manifests/redress/dvc.yaml:redress")


def test_blending_is_a_stage_that_can_be_asked_for_and_no_part_of_a_plain_run(dvc):
    place = "data_manifests/blend/dvc.yaml"
    assert dvc("stage", "list", "--name-only", place).split() == [f"{place}:blend", f"{place}:evaluate-blended"]
    assert "blend" not in dvc("stage", "list", "--name-only").split()
    assert "artifacts/walkers/metrics-blended.json" in dvc("dag", "--outs", place)


def test_redressing_is_a_stage_that_can_be_asked_for_and_no_part_of_a_plain_run(dvc):
    place = "data_manifests/redress/dvc.yaml"
    assert dvc("stage", "list", "--name-only", place).split() == [f"{place}:redress"]
    assert "redress" not in dvc("stage", "list", "--name-only").split()
    assert "data/walkers-redressed" in dvc("dag", "--outs", place)
