"""The documentation's example of a parser of one's own is what other packages can do."""

import sys
import tomllib

import numpy as np
import pytest
import yaml
from doc_pages import DOCS, code_block

from pipeline.labels import LIP, find_scheme
from pipeline.parsing import parser as registry
from pipeline.parsing.backends import ENTRY_POINT_GROUP, load_backends
from pipeline.parsing.listing import list_parsers
from pipeline.parsing.parser import create_parser

PAGE = DOCS / "extend" / "parser.md"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example as a package on the path."""
    load_backends()  # so that undoing leaves the built-in parsers registered
    (tmp_path / "my_parser.py").write_text(code_block(PAGE, "python", "# my_parser.py"))
    entries = tomllib.loads(code_block(PAGE, "toml", ENTRY_POINT_GROUP))["project"]["entry-points"][ENTRY_POINT_GROUP]
    folder = tmp_path / "my_parser-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parser\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in entries.items()]
    (folder / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINT_GROUP}]", *lines]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    yield
    sys.modules.pop("my_parser", None)


@pytest.mark.usefixtures("installed")
def test_the_example_is_found_by_its_entry_point_and_parses():
    load_backends("dark")
    image = np.full((4, 6, 3), 200, np.uint8)
    image[1, 2:5] = 30
    (parsing,) = create_parser("dark", below=100).parse([image])
    expected = np.zeros((4, 6), np.uint8)
    expected[1, 2:5] = LIP.labels.index("pants")
    assert np.array_equal(parsing.label_map, expected)
    assert parsing.confidence == 1.0
    (listed,) = (parser for parser in list_parsers() if parser.name == "dark")
    assert listed.about == "The parser dark: takes dark pixels for trousers"
    assert [(setting.name, setting.default) for setting in listed.settings] == [("below", 60)]


def test_the_example_of_a_scheme_is_one():
    scheme = find_scheme(yaml.safe_load(code_block(DOCS / "guides" / "parsers.md", "yaml", "name: my_scheme")))
    assert scheme.clothes == {2, 3}
