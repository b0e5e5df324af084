"""DVC's files name all that decides each artifact: files of the program by their lists, and parameters."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_parameters
from pipeline.config.deciding import ONLY_HOW, counting
from pipeline.config.dvc_files import (
    DVC_FILES,
    IGNORE_FILE,
    STUDIES_PARSER,
    dependencies,
    ignored,
    in_folders,
    listed_kinds,
    with_ignored,
    with_lists,
)
from pipeline.config.program import program_files
from pipeline.parsing.backends import BACKENDS
from pipeline.studies.reading import load_study, study_names

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = {
    "synth": ["data"],
    "parse": ["shards"],
    "inspect": ["inspection"],
    "redress": ["redressed"],
    "blend": ["blend"],
    "evaluate-blended": ["features", "metrics"],
    "prompts": ["prompts"],
    "encoder": ["encoder"],
    "evaluate": ["features", "metrics"],
    "report": ["report"],
    "synth-pretrain": ["population"],
    "pretrain-clip": ["clip"],
    "ablate": ["tables"],
}
"""What each stage makes."""


def stages() -> dict[str, dict]:
    found = {}
    for name in DVC_FILES:
        found |= yaml.safe_load((REPOSITORY / name).read_text())["stages"]
    del found["paths"]  # it looks at parameters alone, and makes nothing that the program decides
    return {name: stage.get("do", stage) for name, stage in found.items()}


@pytest.mark.parametrize("name", DVC_FILES)
def test_the_lists_are_those_of_the_program(name):
    text = (REPOSITORY / name).read_text()
    assert with_lists(text) == text, "run `make reference`"
    emptied = re.sub(r"( *# The program for [^\n]*\n).*?( *# End of the program)", r"\1\2", text, flags=re.S)
    assert emptied != text
    assert with_lists(emptied) == text


def test_what_dvc_ignores_is_what_decides_nothing():
    text = (REPOSITORY / IGNORE_FILE).read_text()
    assert with_ignored(text) == text, "run `make reference`"
    assert set(ignored()) <= set(text.splitlines())


def test_every_stage_has_the_list_of_what_it_makes():
    found = stages()
    assert found.keys() == STAGES.keys()
    for name, stage in found.items():
        assert set(dependencies(STAGES[name])) <= set(stage["deps"]), name


def test_a_list_for_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no artifact is called encoders"):
        listed_kinds("features and encoders")


@pytest.mark.parametrize("parser", sorted(BACKENDS))
def test_every_file_that_decides_is_listed_or_in_a_folder_that_is(parser):
    for name, stage in stages().items():
        listed = [path.replace("${parse.parser}", parser) for path in stage["deps"]]
        used = STUDIES_PARSER if name == "ablate" else parser
        for kind in STAGES[name]:
            for path in program_files(kind, used):
                assert any(path == other or path.startswith(f"{other}/") for other in listed), (name, path)
        for path in listed:
            if path.startswith(("pipeline/", "stages/")):
                assert (REPOSITORY / path).exists(), (name, path)


def test_folders_hold_nothing_that_is_only_chosen():
    for name, stage in stages().items():
        assert not {"pipeline", "stages", "pipeline/parsing", "pipeline/models"} & set(stage["deps"]), name
    assert in_folders(["pipeline/parsing/masks.py"]) == ["pipeline/parsing/masks.py"]
    assert "pipeline/trainer" in dependencies(["encoder"])


def test_dvc_ignores_no_file_that_decides(tmp_path):
    """DVC itself says what it ignores."""
    files = sorted({path for kinds in STAGES.values() for kind in kinds for path in program_files(kind, "lite")})
    (tmp_path / IGNORE_FILE).write_text((REPOSITORY / IGNORE_FILE).read_text())
    nothing = ["pipeline/trainer/timing.py", "pipeline/models/weights/walker-clip/MODEL_CARD.md", "stages/cli/app.py"]
    for path in [*files, *nothing]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run(
        [*dvc, "check-ignore", *files, *nothing], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert sorted(done.stdout.split()) == sorted(nothing)


def covers(listed: list[str], name: str) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in listed)


def before(name: str, found: dict[str, dict]) -> set[str]:
    """A stage and all that it depends on."""
    outs = {
        stage: [next(iter(out), out) if isinstance(out, dict) else out for out in found[stage]["outs"]]
        for stage in found
    }
    places = {stage: {*outs[stage], *(["${data.root}/${data.dataset}"] if stage == "synth" else [])} for stage in found}
    direct = {stage for stage in found if places[stage] & set(found[name]["deps"])} - {name}
    return {name}.union(*(before(stage, found) for stage in direct))


def test_every_parameter_that_decides_is_one_of_the_stage_or_of_one_before_it():
    found = {name: stage for name, stage in stages().items() if name != "ablate"}
    assert before("report", found) == {"synth", "parse", "prompts", "encoder", "evaluate", "report"}
    for name in found:
        listed = [parameter for stage in before(name, found) for parameter in found[stage]["params"]]
        for kind in STAGES[name]:
            for parameter in counting(kind):
                assert covers(listed, parameter), (name, parameter)


def test_no_parameter_is_listed_in_vain():
    how = {f"{section}.{key}" for section, keys in ONLY_HOW.items() for key in keys}
    for name, stage in stages().items():
        used = set().union(*(counting(kind) for kind in STAGES[name]))
        for listed in stage.get("params", []):
            assert any(covers([listed], parameter) for parameter in used - how), (name, listed)


def test_the_parameter_file_has_every_parameter_that_dvc_is_to_look_at():
    """DVC stops at one that is absent."""
    tree = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for stage in stages().values():
        for listed in stage.get("params", []):
            section, _, name = listed.partition(".")
            assert section in tree
            assert not name or name in tree[section], listed


def test_the_studies_parser_is_that_of_their_list():
    for name in study_names():
        assert load_study(name).parameters.get("parse", {}).get("parser", "lite") == STUDIES_PARSER
    assert load_parameters().parse.parser == STUDIES_PARSER
