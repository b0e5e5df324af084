"""Which files of the program decide an artifact: what is imported counts, what is left out does not."""

from pathlib import Path

import pytest

from pipeline.config import program
from pipeline.config.program import (
    CHOSEN,
    DECIDE_NOTHING,
    MAKERS,
    NO_PROGRAM,
    READS,
    file_of,
    packages,
    program_digest,
    program_digests,
    program_files,
    source_files,
)
from pipeline.losses.registry import LOSSES
from pipeline.parsing.backends import BACKENDS

TOP = packages()["pipeline"].parent
PLUGIN = Path(__file__).resolve().parent.parent / "shards" / "plugin"


@pytest.fixture
def places(tmp_path):
    files = {
        "lib/__init__.py": "",
        "lib/a.py": "from lib import b\nimport os\n",
        "lib/b.py": "def late():\n    from lib.deep.c import d\n",
        "lib/deep/__init__.py": "",
        "lib/deep/c.py": "import lib.e\nd = 1\n",
        "lib/e.py": "",
        "lib/other.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"lib": tmp_path / "lib"}


def test_imports_are_followed_also_inside_functions_and_with_their_packages(places):
    assert set(source_files(["lib.a"], places)) == {"lib", "lib.a", "lib.b", "lib.deep", "lib.deep.c", "lib.e"}


def test_what_is_left_out_is_not_followed(places):
    assert set(source_files(["lib.a"], places, ["lib.deep"])) == {"lib", "lib.a", "lib.b"}
    assert set(source_files(["lib.a"], places, ["lib.__init__", "lib.b"])) == {"lib.a"}


def test_what_is_imported_by_its_name_is_followed(places):
    assert set(source_files(["lib.e"], places, by_name={"lib.e": ["lib.other"]})) == {"lib", "lib.e", "lib.other"}


@pytest.mark.parametrize("name", DECIDE_NOTHING)
def test_what_decides_nothing_is_there(name):
    path = file_of(name, packages())
    assert path is not None
    assert DECIDE_NOTHING[name]


def test_what_makes_and_what_reads_is_there():
    for modules in MAKERS.values():
        for module in modules:
            assert file_of(module, packages()) is not None, module
    for module, names in READS.items():
        assert file_of(module, packages()) is not None, module
        for name in names:
            assert (TOP / name).exists(), name


def test_every_file_of_the_package_that_is_no_module_is_accounted_for():
    known = [*CHOSEN, *(name for names in READS.values() for name in names)]
    for path in packages()["pipeline"].rglob("*"):
        name = path.relative_to(TOP).as_posix()
        if (
            path.is_dir()
            or path.suffix in (".py", ".pyi", ".pyc")
            or any(path.match(pattern) for pattern in NO_PROGRAM)
        ):
            continue
        assert any(name == other or name.startswith(f"{other}/") for other in known), name


@pytest.mark.parametrize("parser", sorted(BACKENDS))
def test_of_all_backends_the_one_that_runs_decides_shards_with_what_it_reads(parser):
    files = program_files("shards", parser)
    for other in BACKENDS:
        folder = f"pipeline/parsing/{other}/"
        assert any(name.startswith(folder) for name in files) == (other == parser)
    assert {"pipeline/parsing/forward.py", "pipeline/parsing/label_files.py"} & files.keys()
    assert ("pipeline/parsing/lite/weights/lite.safetensors" in files) == (parser == "lite")
    assert ("pipeline/parsing/detectron2/presets/cihp.yaml" in files) == (parser == "detectron2")
    assert not any(name.startswith("pipeline/parsing/lite/training/") for name in files)
    assert "pipeline/datasets/readers/prcc.py" in files


def test_a_parser_of_another_package_counts(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGIN))
    files = program_files("shards", "tiles")
    (ours,) = files.keys() - program_files("shards", None).keys()
    assert files[ours] == PLUGIN / "ccaf_test_parsers.py"


def test_all_losses_decide_the_encoder_and_no_other_training():
    losses = {f"pipeline/losses/{name}.py" for name in LOSSES}
    assert losses <= program_files("encoder").keys()
    assert losses <= program_files("tables", "lite").keys()
    for kind in ("clip", "prompts", "features", "metrics"):
        assert not losses & program_files(kind).keys()
    assert "pipeline/losses/supervised_contrastive.py" in program_files("prompts")


def test_defaults_of_parameters_that_count_count():
    assert "pipeline/features/settings.py" in program_files("features")
    assert "pipeline/trainer/settings.py" in program_files("prompts")
    assert "pipeline/evaluation/settings.py" not in program_files("features")


def test_the_digest_is_of_names_and_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(program, "packages", lambda: {name: tmp_path / name for name in ("pipeline", "stages")})
    made = {"pipeline": "", "stages": "from pipeline import rows\n"}
    for name, text in made.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "oracle.py").write_text(text)
        (tmp_path / name / "rows.py").write_text("x = 1\n")
    before = program_digest("oracle")
    (tmp_path / "stages" / "rows.py").write_text("x = 2\n")
    assert program_digest("oracle") == before
    (tmp_path / "pipeline" / "rows.py").write_text("x = 2\n")
    assert program_digest("oracle") != before


def test_the_digests_of_a_study_differ_by_its_parser_in_the_shards_alone():
    digests, others = program_digests("lite"), program_digests("schp")
    assert digests.keys() == MAKERS.keys()
    assert {kind for kind in digests if digests[kind] != others[kind]} == {"shards", "tables"}
    assert digests["shards"] == program_digest("shards", "lite")
