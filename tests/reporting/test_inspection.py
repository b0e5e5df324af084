"""The page about the masks: which images it shows, in which order, and that it stands for itself."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.images import decode_image
from pipeline.parsing.quality import FLAGS
from pipeline.reporting.inspection import Selection, inspect_shards, worst_first
from pipeline.reporting.page import render_page
from pipeline.reporting.pictures import OUTLINE, Box, mask_outline
from pipeline.shards.reader import ShardReader

TEMPLATE = "inspect.html.j2"


def inspect(reader, selection=Selection(), images=6, seed=0):  # noqa: B008 - frozen
    return inspect_shards(reader, title="People", version="9", selection=selection, images=images, seed=seed)


class Few:
    """Only the ids that the order looks at."""

    def __init__(self, rows):
        self.flags = np.empty(len(rows), dtype=np.object_)
        for index, row in enumerate(rows):
            self.flags[index] = tuple(row[0])
        self.confidence = np.array([row[1] for row in rows], np.float32)
        self.clothes_fraction = np.array([row[2] for row in rows], np.float32)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([*FLAGS, "odd"]), unique=True),
            st.sampled_from([0, 0.5, 1]),
            st.sampled_from([0, 1]),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_the_worst_come_first_as_documented(rows):
    def key(index):
        flags, confidence, clothes = rows[index]
        known = [FLAGS.index(flag) for flag in flags if flag in FLAGS]
        gravest = min(known) if known else len(FLAGS) if flags else len(FLAGS) + 1
        return gravest, confidence, clothes, index

    chosen = np.arange(len(rows))[::2]
    assert worst_first(Few(rows), chosen).tolist() == sorted(chosen.tolist(), key=key)


def test_the_sheets_show_the_worst_and_a_seeded_draw(people):
    page = inspect(people)
    ids = people.ids
    expected = [str(ids.image_id[row]) for row in worst_first(ids, np.arange(len(people)))[:6]]
    assert [item.card.image_id for item in page.worst] == expected
    drawn = [item.card.image_id for item in page.random]
    assert len(set(drawn)) == 6
    assert drawn == [item.card.image_id for item in inspect(people).random]
    assert drawn != [item.card.image_id for item in inspect(people, seed=1).random]
    assert len(inspect(people, images=500).random) == len(people)


def test_selections_narrow_images_and_figures(people):
    page = inspect(people, Selection(splits=("query", "gallery"), cameras=(2,)))
    assert page.selection == "split query or gallery, camera 2"
    assert page.summary.whole.images == 6
    assert {item.card.split for item in (*page.worst, *page.random)} == {"gallery"}
    assert {item.card.camera_id for item in page.worst} == {2}
    flagged = inspect(people, Selection(flags=("odd_flag",)))
    assert {item.card.person_id for item in flagged.worst} == {1}
    assert {tally.name: tally.count for tally in flagged.flags}["odd_flag"] == flagged.summary.whole.images


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(splits=("test",)), "has split test; there are: gallery, query, train"),
        (Selection(cameras=(9,)), "has camera 9; there are: 1, 2"),
        (Selection(flags=("bad",)), "has flag bad; there are: no_person, .*odd_flag"),
        (Selection(splits=("query",), cameras=(2,)), "has split query, camera 2"),
    ],
)
def test_selections_of_nothing_are_refused(people, selection, message):
    with pytest.raises(InputError, match=message):
        inspect(people, selection)


def test_without_a_local_copy_the_page_is_the_same(people):
    direct = ShardReader(people.folder, copy=False)
    assert render_page(inspect(direct), TEMPLATE) == render_page(inspect(people), TEMPLATE)


class Checker(HTMLParser):
    """Balanced tags, and what they refer to."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.anchors = [], [], set()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[name] for name in ("src", "href") if name in values]
        self.anchors |= {values["id"]} if "id" in values else set()
        if tag not in ("meta", "img", "br", "path", "use", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("path", "use", "rect"):
            return
        assert self.open.pop() == tag


def test_the_page_is_whole_and_stands_for_itself(people):
    html = render_page(inspect(people, Selection(splits=("train", "gallery"))), TEMPLATE)
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert all(link.startswith(("#", "data:image/")) for link in checker.links)
    assert {link[1:] for link in checker.links if link.startswith("#")} <= checker.anchors
    assert "split train or gallery" in html
    assert "<b>here</b>" not in html
    assert "cut off &lt;b&gt;here" in html
    for text in (
        "truth",
        "a" * 64,
        "upper-clothes, dress",
        "white",
        "truncated 2",
        "covered",
        "odd_flag",
        "confidence",
    ):
        assert text in html
    assert len(re.findall('<figure class="parsed">', html)) == 12


def test_every_image_has_its_views(people, pixels_of):
    item = inspect(people).worst[0]
    assert [name for name, _ in item.pictures] == ["image", "labels", "outline", "shielding", "clothes"]
    assert item.person_fraction == pytest.approx(0.4)
    row = people.ids.image_id.tolist().index(item.card.image_id)
    shown = pixels_of(item.pictures[3][1].uri).astype(int)
    assert np.abs(shown - decode_image(people.encoded(row, "shielded_image"))).mean() < 6


@given(st.integers(1, 90), st.integers(1, 60), st.integers(0, 100))
def test_the_outline_lies_on_the_border_of_the_mask(height, width, seed):
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), bool)
    top, left = rng.integers(0, height), rng.integers(0, width)
    mask[top : top + 20, left : left + 9] = True
    drawn = mask_outline(image, mask, Box(120, 90))
    assert drawn.shape[0] <= 120
    assert drawn.shape[1] <= 90
    on = (drawn == OUTLINE).all(axis=2)
    assert on.any()
    scale = min(120 / height, 90 / width)
    rows, columns = np.nonzero(on)
    assert rows.min() >= top * scale - 3
    assert rows.max() <= (min(height, top + 20)) * scale + 3
    assert columns.min() >= left * scale - 3
    assert columns.max() <= (min(width, left + 9)) * scale + 3
    assert not (mask_outline(image, np.zeros_like(mask), Box(120, 90)) == OUTLINE).all(axis=2).any()
