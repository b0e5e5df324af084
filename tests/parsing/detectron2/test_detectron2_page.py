"""The documentation's section on this parser: the examples are valid settings, the presets are those that exist."""

import re

import yaml
from doc_pages import DOCS, section

from pipeline.config import Parameters
from pipeline.parsing.backends import load_backends
from pipeline.parsing.detectron2.classes import PRESET_NAMES, load_preset, map_classes
from pipeline.parsing.parser import check_settings

SECTION = section(DOCS / "guides" / "parsers.md", "### `detectron2`")


def test_the_examples_are_valid_settings():
    (block,) = re.findall(r"```yaml\n(.*?)```", SECTION, flags=re.DOTALL)
    load_backends("detectron2")
    for tree in yaml.safe_load_all(block):
        parse = Parameters.model_validate(tree).parse
        settings = check_settings(parse.parser, parse.settings)
        preset = settings["preset"] and load_preset(settings["preset"])
        assert map_classes(preset, settings["classes"], settings["labels"], None, None).scheme.name == "lip"


def test_the_table_of_presets_is_true():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\w+) \|", SECTION, flags=re.MULTILINE)
    facts = {name: load_preset(name) for name in PRESET_NAMES}
    assert {row[0]: row[1:] for row in rows} == {
        name: (str(len(preset.classes)), preset.head) for name, preset in facts.items()
    }
