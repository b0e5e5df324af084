"""What the documentation's build does beside MkDocs: files of the repository as pages, equations, nothing fetched."""

import importlib.util
from types import SimpleNamespace

import pytest
from doc_pages import DOCS, REPOSITORY


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_file_of_the_repository_is_a_page_whose_links_lead_to_other_pages(hooks):
    pages = hooks.included_files()
    assert pages[REPOSITORY / "CONTRIBUTING.md"] == DOCS / "contributing.md"
    page = DOCS / "contributing.md"
    text = hooks.render(page.read_text(), page, pages)
    assert text.startswith("# Contributing\n")
    assert "[one file and one line of the registry](extend/loss.md)" in text
    assert "(docs/" not in text


def test_links_that_leave_the_documentation_become_text_and_code_stays(hooks):
    page = DOCS / "guides/cluster.md"
    kept = ", [b](https://x.org), [c](training.md#d).\n```sh\n[e](../../f)\n```\n"
    assert hooks.render("See [`a`](../../stages/cluster/rayjob.yaml)" + kept, page, {}) == "See `a`" + kept


def test_a_link_to_an_included_file_leads_to_its_page(hooks):
    page = DOCS / "guides/studies.md"
    pages = {REPOSITORY / "benchmarks/README.md": DOCS / "benchmarks.md"}
    assert hooks.render("[x](../../benchmarks/README.md#y) here", page, pages) == "[x](../benchmarks.md#y) here"


def test_an_equation_is_mathml_which_needs_no_script(hooks):
    text = hooks.render("Before\n\n$$\n\\frac{a}{b}\n$$\n\nafter $CCAF_DATA", DOCS / "index.md", {})
    assert "<math" in text
    assert "<mfrac>" in text
    assert text.endswith("after $CCAF_DATA")


def test_a_page_that_loads_something_from_elsewhere_is_refused(hooks):
    page = SimpleNamespace(file=SimpleNamespace(src_path="index.md"))
    fine = '<a href="https://arxiv.org">paper</a><script src="assets/a.js"></script>'
    assert hooks.on_post_page(fine, page, None) == fine
    with pytest.raises(hooks.PluginError, match=r"index\.md loads https://cdn\.org/a\.js"):
        hooks.on_post_page('<script src="https://cdn.org/a.js"></script>', page, None)
