"""The registry of parsers."""

from pathlib import Path
from unittest.mock import MagicMock

import pytest
from pydantic import Field

from pipeline.errors import InputError
from pipeline.parsing import parser as registry
from pipeline.parsing.backends import load_backends
from pipeline.settings import SettingsGroup
from pipeline.shards.making.settings import WorkSettings


class MineSettings(SettingsGroup):
    height: int = Field(gt=0)
    path: Path | None = None


@pytest.fixture
def empty_registry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", {})


@pytest.mark.usefixtures("empty_registry")
def test_a_registered_parser_is_built_with_its_settings():
    built = MagicMock()
    registry.register_parser("mine", MineSettings)(built)
    assert registry.parser_names() == ["mine"]
    assert registry.create_parser("mine", device="cuda:1", height=3) is built.return_value
    built.assert_called_once_with(device="cuda:1", height=3, path=None)


@pytest.mark.usefixtures("empty_registry")
def test_an_identity_is_had_on_the_cpu_and_a_device_is_checked_by_its_name():
    built, check = MagicMock(), MagicMock()
    registry.register_parser("mine", MineSettings, check, {"path": Path("none")})(built)
    assert registry.identify_parser("mine", height=3, path="file") is built.return_value
    built.assert_called_once_with(device="cpu", height=3, path=Path("none"))
    registry.check_device("mine", "cuda:1", height=3)
    check.assert_called_once_with("cuda:1", {"height": 3, "path": None})
    registry.register_parser("other", MineSettings)(built)
    registry.check_device("other", "cuda:1", height=3)


@pytest.mark.usefixtures("empty_registry")
def test_a_name_is_never_taken_over():
    registry.register_parser("mine", MineSettings)(MagicMock())
    with pytest.raises(ValueError, match="'mine' is registered already"):
        registry.register_parser("mine", MineSettings)(MagicMock())


@pytest.mark.usefixtures("empty_registry")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"parser mine: height must be given \(parse.settings.height\)"),
        ({"height": 0}, "height = 0: .*greater than 0"),
        ({"height": "tall"}, "height = 'tall': .*integer"),
        ({"height": 3, "widht": 2}, r"widht is not one of its settings \(height, path\)"),
    ],
)
def test_settings_are_checked_before_a_parser_is_built(settings, message):
    built = MagicMock()
    registry.register_parser("mine", MineSettings)(built)
    with pytest.raises(InputError, match=message):
        registry.create_parser("mine", **settings)
    built.assert_not_called()


def test_an_unknown_name_is_answered_with_the_known_ones():
    load_backends()
    with pytest.raises(InputError, match=r"unknown parser 'lit'; known: .*lite"):
        registry.create_parser("lit")


def test_loading_the_backends_twice_is_harmless():
    load_backends()
    names = registry.parser_names()
    load_backends()
    assert registry.parser_names() == names
    assert "lite" in names


@pytest.mark.parametrize("name", ["detectron2", "lite", "sam3", "schp", "transformers"])
def test_the_images_that_parse_hands_over_fill_whole_forward_passes(name):
    load_backends()
    in_one_pass = registry.parser_settings(name).model_fields["batch_size"].default
    assert WorkSettings().batch_size % in_one_pass == 0
