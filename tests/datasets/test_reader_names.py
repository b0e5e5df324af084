"""Names made from labels are read back as those labels; other names are refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers import (
    ccvid,
    celeb_reid,
    deepchange,
    find_reader,
    last,
    ltcc,
    market1501,
    prcc,
    reader_names,
    register_reader,
    vcclothes,
    walkers,
)
from pipeline.datasets.readers.names import Labels

numbers = st.integers(0, 99_999)
endings = st.sampled_from([".jpg", ".JPG", ".png", ".jpeg", ".bmp", ".webp"])
zeros = st.sampled_from(["d", "02d", "04d", "07d"])
words = st.text(st.characters(whitelist_categories=("Ll", "Lu", "Nd")), min_size=1, max_size=6)


@given(numbers, st.integers(0, 999), numbers, numbers, zeros, endings)
def test_walkers_names(pid: int, outfit: int, camera: int, n: int, form: str, ending: str) -> None:
    name = f"{pid:{form}}_{outfit}_c{camera}_{n}{ending}"
    assert walkers.parse_name(name) == Labels(pid, camera, clothes_id=1000 * pid + outfit)


@given(numbers, numbers, numbers, numbers, zeros, endings)
def test_ltcc_names(pid: int, outfit: int, camera: int, n: int, form: str, ending: str) -> None:
    assert ltcc.parse_name(f"{pid:{form}}_{outfit}_c{camera}_{n:{form}}{ending}") == Labels(pid, camera, outfit)


@given(numbers, numbers, numbers, numbers, zeros, endings, st.sampled_from("-_"), st.sampled_from("-_"))
def test_vcclothes_names(
    pid: int, camera: int, outfit: int, n: int, form: str, ending: str, first: str, second: str
) -> None:
    name = f"{pid:{form}}{first}{camera:{form}}{second}{outfit:{form}}{first}{n}{ending}"
    assert vcclothes.parse_name(name) == Labels(pid, camera, outfit)


@given(numbers, numbers, numbers, zeros, endings)
def test_celeb_reid_names(pid: int, index: int, z: int, form: str, ending: str) -> None:
    assert celeb_reid.parse_name(f"{pid:{form}}_{index}_{z}{ending}") == Labels(pid)


@given(st.integers(-1, 99_999), numbers, numbers, numbers, numbers, endings)
def test_market1501_names(pid: int, camera: int, sequence: int, frame: int, n: int, ending: str) -> None:
    person = "-1" if pid == -1 else f"{pid:04d}"
    name = f"{person}_c{camera}s{sequence}_{frame:06d}_{n:02d}{ending}"
    assert market1501.parse_name(name) == Labels(pid, camera)


@given(numbers, st.sampled_from("ABC"), words, zeros, endings)
def test_prcc_names(pid: int, camera: str, rest: str, form: str, ending: str) -> None:
    labels = Labels(pid, {"A": 1, "B": 2, "C": 3}[camera], int(camera == "C"))
    assert prcc.parse_train_name(f"{pid:{form}}/{camera}_{rest}{ending}") == labels
    assert prcc.parse_test_name(f"{pid:{form}}/{rest}{ending}", camera) == labels


@given(numbers, numbers, words, words, st.sampled_from(["", "P"]), st.sampled_from(["", "C"]), numbers, endings)
def test_deepchange_names(
    pid: int, camera: int, day: str, hour: str, person: str, place: str, tracklet: int, ending: str
) -> None:
    name = f"{person}{pid}_{place}{camera}_{day}_{hour}{ending}"
    assert deepchange.parse_name(name, tracklet) == Labels(pid, camera, day, tracklet)


@given(numbers, st.lists(words, max_size=3), words, zeros, endings)
def test_last_names(pid: int, middle: list[str], outfit: str, form: str, ending: str) -> None:
    name = "_".join([f"{pid:{form}}", *middle, outfit]) + ending
    assert last.parse_train_name(f"{pid}/{name}") == Labels(pid, outfit=outfit)
    assert last.parse_query_name(name) == Labels(pid)
    assert last.parse_gallery_name(f"{pid:{form}}/{name}") == Labels(pid)


PARSERS = {
    "walkers": (walkers.parse_name, r"\d+_\d+_c\d+_\d+"),
    "ltcc": (ltcc.parse_name, r"\d+_\d+_c\d+_.+"),
    "vcclothes": (vcclothes.parse_name, r"\d+[-_]\d+[-_]\d+[-_]\d+"),
    "celeb_reid": (celeb_reid.parse_name, r"\d+_\d+_\d+"),
    "market1501": (market1501.parse_name, r"(-1|\d+)_c\d+s\d+_\d+_\d+"),
    "deepchange": (deepchange.parse_name, r"[A-Za-z]?\d+_[A-Za-z]?\d+_[^_]+_.+"),
}


@pytest.mark.parametrize("name", PARSERS)
@given(stem=st.text("01c-_sPx.", max_size=16), folder=st.sampled_from(["", "c1/", "0001_1_c1_1/"]))
def test_what_does_not_follow_the_form_is_refused_whatever_folder_it_is_in(name: str, stem: str, folder: str) -> None:
    parse, form = PARSERS[name]
    fits = re.fullmatch(form, stem) is not None and not folder
    too_long = name == "walkers" and any(len(part) > 3 for part in stem.split("_")[1:2])
    assert (parse(f"{folder}{stem}.jpg") is not None) == (fits and not too_long)


@pytest.mark.parametrize(("name", "parser"), [(name, entry[0]) for name, entry in PARSERS.items()])
def test_digits_of_other_scripts_are_no_numbers(name: str, parser: object) -> None:
    assert callable(parser)
    for text in ("١_١_c١_١.jpg", "١-١-١-١.jpg", "١_١_١.jpg", "١_c١s١_١_١.jpg"):
        assert parser(text) is None


@given(st.integers(1, 3), numbers, st.integers(0, 99))
def test_ccvid_cameras(session: int, person: int, camera: int) -> None:
    match = ccvid._TRACKLET.fullmatch(f"session{session}/{person:03d}_{camera:02d}")
    assert match is not None
    assert (match[1], int(match[2])) == (f"session{session}", camera)


def test_readers_are_registered_once() -> None:
    expected = "ccvid celeb_reid chirla custom deepchange last ltcc market1501 mevid pattern prcc vcclothes walkers"
    assert reader_names() == expected.split()

    def read(source: object, rows: ManifestBuilder) -> None:
        raise AssertionError("never called")

    with pytest.raises(ValueError, match="'ltcc' is registered already"):
        register_reader("ltcc")(read)
    assert find_reader("ltcc").read is ltcc.read_ltcc
