"""Whose files are in a folder that figures are to be written to."""

import json

import pytest

from pipeline.errors import InputError
from pipeline.reporting.figures.page import MADE_BY, check_target, figure_files


def test_figures_of_the_first_version_which_list_no_files_are_replaced_and_nothing_else_is(tmp_path):
    names = ["figures.html", "figures.json", "maps.png", "prompt-distances-1.svg", "tsne-1.svg"]
    for name in names:
        (tmp_path / name).write_text(json.dumps({"made_by": MADE_BY}))
    assert sorted(figure_files(tmp_path)) == names
    check_target(tmp_path)
    (tmp_path / "tsne-notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"tsne-notes\.txt"):
        check_target(tmp_path)
