"""The parser precomputed: every kind of file, every way it can be wrong."""

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import BadImageError, InputError
from pipeline.labels import ATR, LIP, PASCAL
from pipeline.parsing.backends import load_backends
from pipeline.parsing.parser import SourceDigest, create_parser
from pipeline.parsing.precomputed.meaning import Colours, Numbers, TwoValued

LABELS = np.array([[0, 0, 5, 13], [9, 9, 5, 0], [0, 2, 2, 0]], np.uint8)
IMAGE = np.zeros((3, 4, 3), np.uint8)
PALETTE = [channel for index in range(256) for channel in (index, 255 - index, 7)]


@pytest.fixture(autouse=True)
def _registered():
    load_backends("precomputed")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "train").mkdir()
    return tmp_path


def save(path, array, palette=False):
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        picture = Image.fromarray(array)
        if palette:
            picture = picture.copy()
            picture.putpalette(PALETTE)
        picture.save(path)


def outcome(root, path="train/a.jpg", image=IMAGE, **settings):
    (found,) = create_parser("precomputed", root=root, **settings).parse([image], [path])
    return found


def labels(root, **settings):
    found = outcome(root, **settings)
    assert not isinstance(found, BadImageError), found
    assert found.label_map.dtype == np.uint8
    return found.label_map


def test_label_maps_mirror_the_images_and_are_surely_a_person(root):
    save(root / "train" / "a.png", LABELS)
    save(root / "train" / "b.png", np.zeros_like(LABELS))
    parser = create_parser("precomputed", root=root)
    assert (parser.scheme, parser.weights_sha256) == (LIP, "")
    one, two = parser.parse([IMAGE, IMAGE], ["train/a.jpg", "train/b.jpg"])
    assert np.array_equal(one.label_map, LABELS)
    assert (one.confidence, two.confidence) == (1.0, 0.0)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16])
def test_arrays_and_deep_files_hold_numbers(root, kind):
    for suffix in (".npy", ".png") if kind != np.int64 else (".npy",):
        path = root / "train" / f"a{suffix}"
        save(path, LABELS.astype(kind))
        assert np.array_equal(labels(root), LABELS)
        path.unlink()


def test_palette_files_hold_indices_unless_colours_are_told(root):
    save(root / "train" / "a.png", LABELS, palette=True)
    assert np.array_equal(labels(root), LABELS)
    colours = {LIP.labels[number]: [number, 255 - number, 7] for number in (0, 5, 13, 9, 2)}
    assert np.array_equal(labels(root, colours=colours), LABELS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_files_saved_in_colour_hold_numbers(root, mode):
    Image.fromarray(LABELS).convert(mode).save(root / "train" / "a.png")
    assert np.array_equal(labels(root), LABELS)
    assert labels(root, scheme="cihp").max() == LABELS.max()
    assert "scheme pascal has 0 to 6" in outcome(root, scheme="pascal").detail
    Image.fromarray(np.where(LABELS == 5, 255, 0).astype(np.uint8)).convert(mode).save(root / "train" / "a.png")
    assert np.array_equal(labels(root, kind="mask") == 1, LABELS == 5)


def test_colour_coded_maps_need_the_colours(root):
    colours = {"background": [0, 0, 0], "pants": [[255, 0, 0], [0, 0, 9]]}
    picture = np.zeros((3, 4, 3), np.uint8)
    picture[0, 0], picture[1, 1] = (255, 0, 0), (0, 0, 9)
    save(root / "train" / "a.png", picture)
    assert "give the setting colours" in outcome(root).detail
    expected = np.zeros((3, 4), np.uint8)
    expected[0, 0] = expected[1, 1] = LIP.labels.index("pants")
    assert np.array_equal(labels(root, colours=colours), expected)
    unknown = outcome(root, colours={"background": [0, 0, 0], "pants": [0, 0, 9]})
    assert unknown.reason == "label_map_values"
    assert "[255, 0, 0]" in unknown.detail


def test_other_numberings_are_translated_in_full_or_refused(root):
    save(root / "train" / "a.npy", np.array([[300, -1, 255, 300]] * 3))
    found = labels(root, scheme="atr", values={"300": "pants", "-1": "belt", 255: "background"})
    assert found.tolist() == [[ATR.labels.index("pants"), ATR.labels.index("belt"), 0, ATR.labels.index("pants")]] * 3
    bad = outcome(root, values={300: "pants"})
    assert bad.reason == "label_map_values"
    assert "-1, 255; the setting values does not list them" in bad.detail
    assert "scheme lip has 0 to 19" in outcome(root).detail


@pytest.mark.parametrize("on", [1, 255, True])
def test_masks_of_two_values_stand_for_clothes(root, on):
    mask = LABELS == 5
    save(root / "train" / "a.npy", np.where(mask, on, 0).astype(type(on) if on is True else np.uint8))
    parser = create_parser("precomputed", root=root, kind="mask")
    assert parser.scheme.labels == ("background", "clothes")
    assert parser.scheme.clothes_labels(None) == {1}
    (found,) = parser.parse([IMAGE], ["train/a.jpg"])
    assert np.array_equal(found.label_map == 1, mask)


def test_soft_masks_need_a_threshold(root):
    save(root / "train" / "a.png", (LABELS * 10).astype(np.uint8))
    bad = outcome(root, kind="mask")
    assert (bad.reason, "set a threshold" in bad.detail) == ("label_map_values", True)
    assert np.array_equal(labels(root, kind="mask", threshold=60) == 1, LABELS * 10 > 60)
    (root / "train" / "a.png").unlink()
    save(root / "train" / "a.npy", LABELS / 20)
    assert np.array_equal(labels(root, kind="mask", threshold=0.3) == 1, LABELS / 20 > 0.3)


def test_a_mask_can_stand_for_any_label(root):
    save(root / "train" / "a.png", np.where(LABELS == 9, 255, 0).astype(np.uint8))
    assert np.array_equal(labels(root, kind="mask", scheme="lip", mask_label="pants"), np.where(LABELS == 9, 9, 0))


def test_rules_are_tried_in_order(root):
    save(root / "a_mask.png", LABELS)
    save(root / "train" / "a.png", np.zeros_like(LABELS))
    assert labels(root, pattern=["{folder}/{stem}_x.png", "{stem}_mask.png", "{folder}/{stem}.png"]).any()
    assert labels(root, pattern="{stem}_mask.png").any()


def test_what_is_missing_or_does_not_fit_is_told_for_each_image(root):
    save(root / "train" / "b.png", LABELS[:2])
    (root / "train" / "c.png").write_bytes(b"no picture")
    (root / "train" / "d.png").mkdir()
    (root / "train" / "e.png").write_bytes(b"")
    save(root / "train" / "f.png", LABELS)
    parser = create_parser("precomputed", root=root)
    names = [f"train/{stem}.jpg" for stem in "abcdef"] + ["../a.jpg", "/a.jpg", "f.jpg"]
    found = parser.parse([IMAGE] * len(names), names)
    reasons = [item.reason if isinstance(item, BadImageError) else "good" for item in found]
    unreadable = "label_map_unreadable"
    missing = "no_label_map"
    assert reasons == [missing, "label_map_size", unreadable, unreadable, unreadable, "good", missing, missing, missing]
    assert "train/a.png or train/a.npy" in found[0].detail
    assert str(root) not in " ".join(str(item) for item in found)


def test_the_digest_follows_the_label_file(root):
    parser = create_parser("precomputed", root=root)
    assert isinstance(parser, SourceDigest)
    missing = parser.source_digest("train/a.jpg")
    save(root / "train" / "a.npy", LABELS)
    array = parser.source_digest("train/a.jpg")
    save(root / "train" / "a.png", LABELS)
    picture = parser.source_digest("train/a.jpg")
    save(root / "train" / "a.png", LABELS + 1)
    changed = parser.source_digest("train/a.jpg")
    assert len({missing, array, picture, changed}) == 4
    assert parser.source_digest("train/a.jpg") == changed
    assert parser.source_digest("../a.jpg") == "no_label_map"


def test_a_described_scheme_comes_from_a_file_or_in_place(root):
    described = {"name": "mine", "labels": ["none", "skin", "shirt"], "clothes": ["shirt"]}
    (root / "scheme.yaml").write_text(yaml.safe_dump(described))
    save(root / "train" / "a.png", np.full((3, 4), 2, np.uint8))
    for scheme in (described, str(root / "scheme.yaml")):
        parser = create_parser("precomputed", root=root, scheme=scheme)
        assert parser.scheme.clothes_labels(None) == {2}
        assert (parser.parse([IMAGE], ["train/a.jpg"])[0].label_map == 2).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": "nowhere"}, "no folder nowhere"),
        ({"pattern": []}, "pattern is empty"),
        ({"pattern": "../{stem}.png"}, "must stay in the root"),
        ({"kind": "picture"}, "kind = 'picture'"),
        ({"kind": "mask", "values": {1: "pants"}}, "values has no meaning for kind mask"),
        ({"kind": "mask", "scheme": "lip"}, "say by mask_label"),
        ({"kind": "mask", "scheme": "lip", "mask_label": "background"}, "is the background"),
        ({"kind": "mask", "scheme": "lip", "mask_label": "tie"}, "no label tie"),
        ({"mask_label": "pants"}, "mask_label has no meaning for kind labels"),
        ({"threshold": 3}, "threshold has no meaning for kind labels"),
        ({"scheme": "lop"}, "unknown label scheme 'lop'"),
        ({"values": {"one": "pants"}}, "values.one"),
        ({"values": {1: "trousers"}}, "no label trousers"),
        (
            {"values": {1: "pants"}, "colours": {"pants": [1, 2, 3]}},
            "values has no meaning for kind labels with colours",
        ),
        ({"colours": {"pants": [1, 2, 300]}}, "not within 0 and 255"),
        ({"colours": {"pants": [1, 2, 3], "coat": [1, 2, 3]}}, "stands for two labels"),
    ],
)
def test_wrong_settings_are_one_line(root, settings, message):
    with pytest.raises(InputError) as caught:
        create_parser("precomputed", **{"root": root, **settings})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scheme_without_clothes_is_the_callers_to_refuse(root):
    assert create_parser("precomputed", root=root, scheme="pascal").scheme == PASCAL


def test_paths_are_needed(root):
    with pytest.raises(ValueError, match="give one for each image"):
        create_parser("precomputed", root=root).parse([IMAGE])


ARRAYS = st.integers(0, 10_000).map(lambda seed: np.random.default_rng(seed).integers(0, 20, (5, 7), dtype=np.uint8))


@given(ARRAYS, st.permutations(range(20)))
def test_numbers_are_translated_pixel_by_pixel(values, order):
    table = {value: order[value] for value in range(20)}
    found = Numbers(LIP, table).label_map(values, "a")
    assert found.tolist() == [[table[int(value)] for value in row] for row in values]


@given(ARRAYS)
def test_colours_are_translated_pixel_by_pixel(values):
    codes = {(number * 13 % 256, 255 - number, number): number for number in range(20)}
    listed = np.array(list(codes), np.uint8)
    assert np.array_equal(Colours(codes).label_map(listed[values], "a"), values)


@given(ARRAYS, st.integers(0, 19))
def test_thresholds_are_strict(values, threshold):
    found = TwoValued(7, threshold).label_map(values, "a")
    assert found.tolist() == [[7 if value > threshold else 0 for value in row] for row in values.tolist()]
