"""What the release 0.6 is given before its import, in processes of its own; and what is left alone."""

import subprocess
import sys

import pytest

from pipeline.errors import InputError
from pipeline.parsing.backends import load_backends
from pipeline.parsing.detectron2 import compat
from pipeline.parsing.parser import create_parser

RELEASE, MAIN = "from detectron2 import _C\n", "import torch\n"


LOAD = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("compat", {compat.__file__!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)  # alone, as the package around it would import torch
"""


def in_new_process(code, *path):
    setup = f"{LOAD}sys.path[:0] = {list(map(str, path))!r}\n"
    done = subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def sources(folder, marker, compiled=None):
    """A package that is recognised as the library's sources."""
    (folder / "detectron2" / "layers").mkdir(parents=True)
    (folder / "detectron2" / "__init__.py").write_text("")
    (folder / "detectron2" / "layers" / "rotated_boxes.py").write_text(marker)
    if compiled:
        (folder / "detectron2" / compiled).write_bytes(b"")
    return folder


REPORT = """
import numpy, PIL.Image
before = [name for name in ("int", "float", "str", "bool") if name in vars(numpy)]
compat.prepare(); compat.prepare()
after = [name for name in ("int", "float", "str", "bool") if name in vars(numpy)]
print("detectron2" in sys.modules, "detectron2._C" in sys.modules, len(after), len(before) == len(after))
"""


def test_the_release_is_given_what_it_misses_before_its_import(tmp_path):
    assert in_new_process(REPORT, sources(tmp_path, RELEASE))[:3] == ["False", "True", "4"]


def test_a_compiled_module_is_never_hidden(tmp_path):
    found = in_new_process(REPORT, sources(tmp_path, RELEASE, "_C.cpython-311-x86_64-linux-gnu.so"))
    assert found[:3] == ["False", "False", "4"]


def test_upstreams_main_is_left_alone(tmp_path):
    assert in_new_process(REPORT, sources(tmp_path, MAIN)) in (
        ["False", "False", str(count), "True"] for count in range(5)
    )


@pytest.mark.usefixtures("library")
def test_the_real_library_is_imported_from_many_threads_at_once():
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda _: compat.require_library(), range(16)))
import detectron2.modeling, detectron2.data.transforms, numpy, PIL.Image
assert numpy.int is int and numpy.float is float and PIL.Image.LINEAR == PIL.Image.BILINEAR
assert compat.has_compiled_operators() == hasattr(sys.modules["detectron2._C"], "deform_conv_forward")
print("done")
"""
    assert in_new_process(code) == ["done"]


def test_without_the_library_everything_else_works_and_the_parser_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    load_backends()
    with pytest.raises(
        InputError, match=r"ccaf-pipeline\[detectron2\].*python -m pipeline\.parsing\.detectron2\.install"
    ):
        create_parser("detectron2", preset="lip", weights="model.pth")


def test_a_folder_of_that_name_is_not_the_library(tmp_path):
    (tmp_path / "detectron2").mkdir()
    code = "sys.path[:] = sys.path[:1]; print(compat.package_folder())"
    assert in_new_process(code, tmp_path) == ["None"]


def test_a_library_that_cannot_be_imported_is_an_input_error(tmp_path):
    sources(tmp_path, MAIN)
    code = """
from pipeline.errors import InputError
try:
    compat.require_library()
except InputError as error:
    print("cannot" in str(error), "modeling" in str(error))
"""
    assert in_new_process(code, tmp_path) == ["True", "True"]
