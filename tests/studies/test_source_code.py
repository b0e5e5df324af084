"""The digest of the program that decides a step: what is imported counts, what is left out does not."""

import pytest

from pipeline.studies.code import source_digest, source_files


@pytest.fixture
def packages(tmp_path):
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


def test_imports_are_followed_also_inside_functions(packages):
    assert set(source_files(["lib.a"], packages)) == {"lib", "lib.a", "lib.b", "lib.deep.c", "lib.e"}


def test_what_is_left_out_is_not_followed(packages):
    assert set(source_files(["lib.a"], packages, ["lib.deep"])) == {"lib", "lib.a", "lib.b"}


def test_the_digest_is_of_names_and_bytes(packages):
    from pipeline.studies import code

    before = source_digest(["lib.a"], packages)
    (packages["lib"] / "other.py").write_text("x = 1\n")
    assert source_digest(["lib.a"], packages) == before
    (packages["lib"] / "e.py").write_text("x = 1\n")
    code._imports.cache_clear()
    assert source_digest(["lib.a"], packages) != before


def test_the_programs_own_steps_are_found():
    from stages.study.work import _MODULES, code_digests

    digests = code_digests()
    assert digests.keys() == _MODULES.keys()
    assert len(set(digests.values())) == len(digests) - 1  # both renderings are of the same program
