"""The page as a whole: whole HTML, nothing from elsewhere, text from outside escaped, absent parts named."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pipeline.features.feature_set import FeatureSet, normalise_rows
from pipeline.reporting.numbers import METRICS, Absent, Figure, Metrics, Score
from pipeline.reporting.origin import Inputs
from pipeline.reporting.page import Page, Recipe, render_page, write_page
from pipeline.reporting.report import make_page
from pipeline.reporting.settings import ReportSettings

HOSTILE = '<script>alert("x")</script>'
ABSENT = Absent("There is none.", "ccaf-pipeline make --it")
VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Notes every tag, checks that they are balanced, and collects attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def check(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def page(people) -> Page:
    """A page with everything but training and frozen metrics."""
    figures = {key: Figure(40.0 + index, 30.0, 50.0) for index, key in enumerate(METRICS)}
    score = Score("cc", "other clothes", 6, 12, 1, 0, figures)
    rows = people.select(["query", "gallery"])
    ids = people.ids
    features = FeatureSet(
        normalise_rows(np.random.default_rng(0).standard_normal((len(rows), 5)).astype(np.float32)),
        ids.image_id[rows].astype(str), ids.split[rows].astype(str), ids.person_id[rows],
        ids.camera_id[rows].astype(np.int64), ids.clothes_id[rows], ids.tracklet_id[rows],
    )  # fmt: skip
    inputs = Inputs(people, Metrics(Path("m"), {}, (score,)), ABSENT, ABSENT, ABSENT, {})
    recipe = Recipe("p.yaml", "seed: 0\n", "Ask the authors.", ("ccaf-pipeline parse",))
    settings = ReportSettings(sheet_images=8, ranked_queries=4)
    return make_page(inputs, features, title="People", version="9.9", recipe=recipe, settings=settings)


def test_the_page_is_whole_and_loads_nothing(page):
    checker = check(render_page(page))
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(checker.tags)
    for tag, name, value in checker.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert value.startswith(("data:image/", "#")), (tag, name, value[:40])
    (style,) = re.findall(r"<style>(.*?)</style>", render_page(page), re.DOTALL)
    assert "@import" not in style
    assert "url(" not in style


def test_links_lead_to_sections_of_the_page(page):
    checker = check(render_page(page))
    ids = [value for _, name, value in checker.attributes if name == "id"]
    targets = [value[1:] for tag, name, value in checker.attributes if tag == "a" and name == "href"]
    assert len(targets) == 6
    assert set(targets) <= set(ids)
    assert len(ids) == len(set(ids))


def test_every_picture_has_words_and_a_size(page):
    html = render_page(page)
    images = re.findall(r"<img [^>]*>", html)
    assert len(images) == 8 * 5 + 4 * (1 + 8)
    assert all(re.search(r'width="\d+" height="\d+" alt="[^"]+"', image) for image in images)


def test_right_and_wrong_are_told_without_colour(page):
    html = render_page(page)
    marks = [hit.right for ranking in (*page.ranked.random, *page.ranked.worst) for hit in ranking.hits]
    assert html.count("✓") == html.count('class="hit right"') == sum(marks) > 0
    assert html.count("✗") == html.count('class="hit wrong"') == len(marks) - sum(marks) > 0
    assert html.count('visually-hidden"> wrong</span>') == len(marks) - sum(marks)


def test_text_from_outside_is_escaped(page):
    image = page.sheet.random[0]
    hostile = replace(image, card=replace(image.card, image_id=HOSTILE), flags=(HOSTILE,))
    html = render_page(
        replace(
            page,
 title=HOSTILE, warnings=(HOSTILE,), clothes=(HOSTILE,),
            sheet=replace(page.sheet, random=(hostile,)), recipe=Recipe(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,)),
        )
    )  # fmt: skip
    assert "<script" not in html
    assert check(html).text.count(HOSTILE) >= 8
    assert "cut off &lt;b&gt;here&lt;/b&gt;" in html


def test_absent_parts_say_what_is_missing_and_how_to_make_it(page):
    text = check(render_page(replace(page, ranked=ABSENT))).text
    assert text.count("There is none. To make it:ccaf-pipeline make --it") == 1 + 2 + 3 + 1  # numbers, curves, origin


def test_numbers_intervals_and_skipped_queries_are_there(page):
    text = check(render_page(page)).text
    assert "Rank-1" in text
    assert "40.0" in text
    assert "30.0–50.0" in text
    assert "6 queries against 12 gallery items; 1 skipped for want of a right match" in text
    assert "frozen is the same CLIP" not in text


def test_commands_in_sentences_are_set_as_code_and_still_escaped(page):
    html = render_page(replace(page, warnings=("Old: run `ccaf-pipeline <x>` again.",)))
    assert "Old: run <code>ccaf-pipeline &lt;x&gt;</code> again." in html


def test_warnings_stand_at_the_top(page):
    html = render_page(replace(page, warnings=("The metrics are old.",)))
    assert html.index("The metrics are old.") < html.index('class="tiles"')
    assert "To be read with care" not in render_page(page)


def test_the_file_is_written_whole_and_alike(page, tmp_path):
    first, second = tmp_path / "a" / "page.html", tmp_path / "b.html"
    size = write_page(page, first)
    write_page(page, second)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size == size
    assert [file.name for file in first.parent.iterdir()] == ["page.html"]


def test_few_are_not_shown_as_none(page):
    flags = (replace(page.overview.flags[0], name="rare", count=1, share=0.0002),)
    text = check(render_page(replace(page, overview=replace(page.overview, flags=flags)))).text
    assert "<\u00a00.1\u00a0%" in text


def test_no_card_gets_narrower_than_its_table(page):
    html = render_page(page)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    wide = style[: style.index("@media (max-width")]
    (card,) = re.findall(r"\.card \{([^}]*)\}", wide)
    (cards,) = re.findall(r"\.cards \{([^}]*)\}", wide)
    assert "min-width: min-content" in card
    assert "flex-wrap: wrap" in cards  # a card that finds no room beside the others goes below them
    assert max(map(int, re.findall(r"@media \(max-width: (\d+)px\)", style))) < 1000
    (pre,) = re.findall(r"\npre \{([^}]*)\}", wide)
    assert "pre-wrap" in pre  # long commands are broken, not cut
