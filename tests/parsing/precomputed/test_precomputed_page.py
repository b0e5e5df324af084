"""The documentation's section on this parser: its example is valid."""

import re

import yaml
from doc_pages import DOCS, section

from pipeline.config import Parameters
from pipeline.parsing.backends import load_backends
from pipeline.parsing.parser import create_parser

SECTION = section(DOCS / "guides" / "parsers.md", "### `precomputed`")


def test_the_example_is_valid_and_so_are_its_alternatives(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", SECTION, flags=re.DOTALL)
    load_backends("precomputed")
    lines = block.splitlines()
    alternatives = [line.replace("# ", "", 1) for line in lines if line.lstrip().startswith("# ")]
    assert len(alternatives) == 2
    for more in ["", *alternatives]:
        parse = Parameters.model_validate(yaml.safe_load("\n".join([*lines, more]))).parse
        parser = create_parser(parse.parser, **{**parse.settings, "root": tmp_path})
        assert (parser.name, parser.scheme.name) == ("precomputed", "atr")
