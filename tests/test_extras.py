"""Packages of extras: imported, or refused with the command that installs them."""

import json
import sys

import pytest

from pipeline.errors import InputError
from pipeline.extras import import_extra
from pipeline.serving.packages import check_packages


def test_a_package_that_is_there_is_imported():
    assert import_extra("json", "serve", "this test") is json


def test_a_missing_package_is_named_with_who_needs_it_and_how_it_is_installed():
    message = (
        r"^this test needs not_there, which cannot be imported \(No module named 'not_there'\): "
        r"pip install 'ccaf-pipeline\[serve\]'$"
    )
    with pytest.raises(InputError, match=message):
        import_extra("not_there", "serve", "this test")


def test_the_search_page_needs_the_extra_serve(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"--serve needs (fastapi|uvicorn),.*ccaf-pipeline\[serve\]"):
        check_packages()
