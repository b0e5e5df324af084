"""The registry of parsers."""

from unittest.mock import MagicMock

import pytest

from pipeline.errors import InputError
from pipeline.parsing import parser as registry
from pipeline.parsing.backends import load_backends


@pytest.fixture
def empty_registry(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", {})


@pytest.mark.usefixtures("empty_registry")
def test_a_registered_parser_is_built_with_its_settings():
    built = MagicMock()
    registry.register_parser("mine")(built)
    assert registry.parser_names() == ["mine"]
    assert registry.create_parser("mine", device="cuda:1", height=3) is built.return_value
    built.assert_called_once_with(device="cuda:1", height=3)


@pytest.mark.usefixtures("empty_registry")
def test_a_name_is_never_taken_over():
    registry.register_parser("mine")(MagicMock())
    with pytest.raises(ValueError, match="'mine' is registered already"):
        registry.register_parser("mine")(MagicMock())


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
