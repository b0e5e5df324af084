"""The list of parsers, with their settings, for people."""

from enum import Enum
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from pipeline.errors import InputError
from pipeline.parsing import backends
from pipeline.parsing import parser as registry
from pipeline.parsing.backends import BACKENDS
from pipeline.parsing.listing import list_parsers, type_in_words
from pipeline.settings import SettingsGroup


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str, "text"),
        (Path | None, "path or null"),
        (Literal["labels", "mask"], "labels or mask"),
        (list[str] | str, "list of text or text"),
        (dict[int, str] | None, "mapping of integer to text or null"),
        (tuple[int, int], "[integer, integer]"),
        (tuple[float, ...], "list of number"),
        (Annotated[bool, "x"], "true or false"),
        (dict[str, Any], "mapping of text to anything"),
        (Enum, "Enum"),
    ],
)
def test_types_are_said_in_words(annotation, words):
    assert type_in_words(annotation) == words


def test_built_in_parsers_are_listed_with_typed_settings():
    listed = {parser.name: parser for parser in list_parsers()}
    assert {"lite", "precomputed"} <= set(listed)
    settings = {setting.name: setting for setting in listed["precomputed"].settings}
    assert (settings["root"].required, settings["root"].type) == (True, "path")
    assert (settings["kind"].default, settings["kind"].type) == ("labels", "labels or mask")
    for parser in (listed[name] for name in BACKENDS):
        assert parser.problem or parser.about
        assert all(setting.description for setting in parser.settings), parser.name


class TheirSettings(SettingsGroup):
    height: int = Field(3, description="in pixels")


def test_parsers_of_other_packages_are_listed_and_broken_ones_spoil_nothing(monkeypatch, tmp_path):
    (tmp_path / "their_parser.py").write_text(
        '"""Their parser; for tests."""\n'
        "from tests_their_settings import TheirSettings\n"
        "from pipeline.parsing.parser import register_parser\n"
        "register_parser('theirs', TheirSettings)(lambda device, height: None)\n"
    )
    (tmp_path / "broken_parser.py").write_text("raise RuntimeError('half installed')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "tests_their_settings", __import__(__name__, fromlist=["x"]))
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    entries = [
        EntryPoint("theirs", "their_parser", backends.ENTRY_POINT_GROUP),
        EntryPoint("broken", "broken_parser", backends.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(backends, "entry_points", lambda group: entries)
    listed = {parser.name: parser for parser in list_parsers()}
    assert (listed["theirs"].about, listed["theirs"].settings[0].description) == ("Their parser", "in pixels")
    assert "half installed" in listed["broken"].problem
    assert listed["lite"].problem == ""


def test_a_name_that_two_packages_claim_is_refused_and_spoils_no_other(monkeypatch):
    entries = [EntryPoint("lite", "their.lite", backends.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(backends, "entry_points", lambda group: entries)
    with pytest.raises(InputError, match=r"several packages have a parser named lite \(pipeline.parsing.lite, their"):
        backends.load_backends("lite")
    problems = {parser.name: parser.problem for parser in list_parsers()}
    assert "uninstall all but one" in problems["lite"]
    assert not problems["precomputed"]
