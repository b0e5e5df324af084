"""Naming rules of label files."""

import contextlib
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadImageError, InputError
from pipeline.parsing.precomputed.names import check_pattern, label_path

PARTS = st.text(st.sampled_from("ab.{}~ü _-"), min_size=1, max_size=6).filter(lambda text: text not in (".", ".."))


@pytest.mark.parametrize(
    ("pattern", "image", "expected"),
    [
        ("{folder}/{stem}.png", "train/c1/0001.jpg", "train/c1/0001.png"),
        ("{folder}/{stem}.png", "0001.jpg", "0001.png"),
        ("{folder}/{stem}_mask.png", "train/a.b.jpg", "train/a.b_mask.png"),
        ("{stem}.npy", "train/c1/0001.jpg", "0001.npy"),
        ("{folder}/{name}.png", "train/0001.jpg", "train/0001.jpg.png"),
        ("masks/{folder}/{stem}{suffix}", "c1/0001.PNG", "masks/c1/0001.PNG"),
    ],
)
def test_rules_turn_image_paths_into_label_paths(pattern, image, expected):
    assert str(label_path(check_pattern(pattern), image)) == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("../{stem}.png", "must stay in the root"),
        ("/masks/{stem}.png", "must stay in the root"),
        ("masks/../../{stem}.png", "must stay in the root"),
        ("mask.png", "neither {stem} nor {name}"),
        ("{folder}/mask.png", "neither {stem} nor {name}"),
        ("{person}.png", "{person} is unknown; known: {folder}, {stem}, {name}, {suffix}"),
        ("{stem.__class__}.png", "is unknown"),
        ("{stem!r}.png", "is unknown"),
        ("{stem:>9}.png", "is unknown"),
        ("{stem.png", "expected a path such as"),
    ],
)
def test_wrong_rules_are_refused(pattern, message):
    with pytest.raises(InputError) as caught:
        check_pattern(pattern)
    assert message in str(caught.value)


@given(st.lists(st.one_of(PARTS, st.just(".."), st.just("/")), min_size=1, max_size=5))
def test_no_image_path_leads_out_of_the_root(parts):
    image = "/".join(parts)
    for pattern in ("{folder}/{stem}.png", "x/{folder}/{name}", "{stem}.png"):
        with contextlib.suppress(BadImageError):
            found = label_path(pattern, image)
            assert not found.is_absolute()
            assert ".." not in PurePosixPath(found).parts
