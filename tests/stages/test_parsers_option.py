"""Choosing a parser on the command line, and the list of them."""

import json

import pytest
import yaml

from pipeline.config import load_parameters
from pipeline.errors import InputError
from stages.cli import run
from stages.cli.options import Context


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "p.yaml"
    settings = {"root": "masks", "values": {1: "pants"}}
    path.write_text(yaml.safe_dump({"parse": {"parser": "precomputed", "settings": settings}}))
    return path


def test_settings_of_the_file_belong_to_the_files_parser(file):
    assert Context(file, []).parameters.parse.settings == {"root": "masks", "values": {"1": "pants"}}
    same = Context(file, ["parse.settings.kind=mask"], parser="precomputed").parameters.parse
    assert same.settings == {"root": "masks", "values": {"1": "pants"}, "kind": "mask"}
    other = Context(file, ["parse.settings.weights=a.safetensors"], parser="lite").parameters.parse
    assert (other.parser, other.settings) == ("lite", {"weights": "a.safetensors"})
    assert load_parameters(file, ["parse.settings.batch_size=2", "parse.parser=lite"]).parse.settings == {
        "batch_size": 2
    }


def test_a_file_that_names_no_parser_has_the_defaults_settings(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("parse: {settings: {batch_size: 2}}\n")
    assert Context(path, [], parser="lite").parameters.parse.settings == {"batch_size": 2}
    assert Context(path, [], parser="precomputed").parameters.parse.settings == {}


def test_the_option_wins_over_the_file_and_over_set(file):
    parse = Context(file, ["parse.parser=lite"], parser="2024").parameters.parse
    assert (parse.parser, parse.settings) == ("2024", {})


def test_settings_that_cannot_be_recorded_are_refused(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("parse: {settings: {since: .nan}}\n")
    with pytest.raises(InputError, match=r"parse.settings = .*only texts, numbers, lists and mappings"):
        load_parameters(path)


def test_wrong_parsers_and_settings_are_one_line(tmp_path, capsys):
    for arguments, message in (
        (["--parser", "nobody"], "unknown parser 'nobody'; known: "),
        (["--parser", "precomputed"], "root must be given (parse.settings.root)"),
        (["--set", "parse.settings.wieghts=3"], "wieghts is not one of its settings"),
    ):
        scored = ["parse-score", "--images", str(tmp_path), "--labels", str(tmp_path), *arguments]
        assert run(scored) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert message in error


def test_parsers_are_listed_for_people_and_programs(capsys):
    assert run(["parse", "--parsers"]) == 0
    text = capsys.readouterr().out
    assert "precomputed\n    The parser precomputed: label maps or masks that users already have\n" in text
    assert "root (path; must be given)" in text
    assert "batch_size (integer; default 32)" in text
    assert run(["parse", "--parsers", "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    listed = {parser["name"]: parser for parser in json.loads(said.out)["parsers"]}
    assert listed["precomputed"]["settings"][0]["name"] == "root"
