"""The command parse-score, against scores that are known beforehand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from pipeline.errors import BadImageError, InputError
from pipeline.files import sha256_of_file
from pipeline.images import encode_image, encode_label_map
from pipeline.labels import ATR, LIP, PASCAL
from pipeline.parsing import parser as registry
from pipeline.parsing.backends import load_backends
from pipeline.parsing.parser import Parsing
from pipeline.settings import SettingsGroup
from stages.cli.parse_score import command
from stages.parse_score import parse_size


class NoSettings(SettingsGroup):
    """None."""


class RedIsShirt:
    """Labels red pixels upper-clothes and everything else background."""

    name, weights_sha256 = "red", "0" * 64

    def __init__(self, scheme, shirt):
        self.scheme, self.shirt = scheme, shirt

    def parse(self, images, paths=None):
        return [Parsing(np.where(image[:, :, 0] > 128, self.shirt, 0).astype(np.uint8), 1.0) for image in images]


@pytest.fixture
def red(monkeypatch):
    load_backends()
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    registry.register_parser("red", NoSettings)(lambda device: RedIsShirt(LIP, 5))
    registry.register_parser("red-atr", NoSettings)(lambda device: RedIsShirt(ATR, 4))
    registry.register_parser("red-pascal", NoSettings)(lambda device: RedIsShirt(PASCAL, 2))


@pytest.fixture
def folders(tmp_path):
    """Two images of 40 x 20; of the shirt's 100 pixels the first shows 100 in red, the second 60."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number, red_rows in ((5, 10), (7, 6)):
        labels = np.zeros((40, 20), np.uint8)
        labels[10:20, 5:15] = 5
        image = np.zeros((40, 20, 3), np.uint8)
        image[10 : 10 + red_rows, 5:15, 0] = 255
        (tmp_path / "images" / f"{number:04d}.png").write_bytes(encode_image(image))
        (tmp_path / "labels" / f"{number:04d}.png").write_bytes(encode_label_map(labels))
    return ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]


def run(*arguments):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.usefixtures("red")
def test_scores_are_counted_over_all_images(folders, tmp_path):
    result = run(*folders, "--parser", "red", "--json", "--quiet", "--out", str(tmp_path / "scores.json"))
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value == json.loads((tmp_path / "scores.json").read_text())
    assert value["images"] == 2
    assert value["clothes_iou"] == pytest.approx(160 / 200)
    assert value["mean_image_iou"] == pytest.approx((1.0 + 0.6) / 2)
    assert value["pixel_accuracy"] == pytest.approx(1 - 40 / 1600)
    assert value["class_iou"] == {"background": pytest.approx(1400 / 1440, abs=1e-4), "upper-clothes": 0.8}
    assert value["parser"] == "red"


@pytest.mark.usefixtures("red")
def test_held_out_means_divisible_by_five(folders):
    value = json.loads(run(*folders, "--parser", "red", "--json", "--held-out").stdout)
    assert (value["images"], value["clothes_iou"]) == (1, 1.0)


@pytest.mark.usefixtures("red")
def test_ccp_labels_are_mapped(folders, tmp_path):
    (tmp_path / "list.json").write_text(json.dumps(["null", "skin", "hair", "jeans", "shoes", "blouse"]))
    listed = [*folders, "--label-list", str(tmp_path / "list.json")]
    for parser in ("red", "red-atr"):
        value = json.loads(run(*listed, "--parser", parser, "--json").stdout)
        assert value["clothes_iou"] == value["class_iou"]["upper-clothes"] == 0.8
        assert value["truth_scheme"] == "lip"
    with pytest.raises(InputError, match="either --labels-scheme or --label-list"):
        raise run(*listed, "--labels-scheme", "lip", "--parser", "red").exception or AssertionError("accepted")


@pytest.mark.usefixtures("red")
def test_truth_and_parser_may_have_different_schemes(folders, tmp_path):
    """The label maps' number 5 is a shirt in the described scheme, and the face of nobody."""
    scheme = {
        "name": "mine",
        "labels": ["background", "Face", "a", "b", "c", "Upper Clothes"],
        "clothes": ["Upper Clothes"],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(scheme))
    named = [*folders, "--labels-scheme", str(tmp_path / "mine.yaml"), "--parser", "red-atr"]
    result = run(*named, "--json")
    value = json.loads(result.stdout)
    assert value["clothes_iou"] == value["class_iou"]["Upper Clothes"] == 0.8
    assert value["compared"] == ["background", "Face", "Upper Clothes"]
    assert value["truth_only"] == ["a", "b", "c"]
    assert "skirt" in value["parser_only"]
    assert "not compared, only in the scheme mine: a, b, c" in result.stderr
    assert "only in the scheme atr: hat, hair, " in result.stderr


@pytest.mark.usefixtures("red")
def test_clothes_of_a_truth_without_any_must_be_named(folders):
    arguments = [*folders, "--labels-scheme", "pascal", "--parser", "red"]
    result = run(*arguments)
    assert isinstance(result.exception, InputError)
    assert "names no clothes; name them by --labels-clothes" in str(result.exception)
    value = json.loads(run(*arguments, "--labels-clothes", "upper-legs", "--json").stdout)
    assert value["clothes_iou"] == 0.8
    assert isinstance(run(*arguments, "--labels-clothes", "trousers").exception, InputError)
    assert isinstance(run(*folders, "--parser", "red-pascal").exception, InputError)


@pytest.mark.usefixtures("red")
def test_what_cannot_be_counted_is_counted_apart(folders, tmp_path):
    (tmp_path / "labels" / "0007.png").unlink()
    (tmp_path / "images" / "0010.jpg").write_bytes(b"no image")
    (tmp_path / "labels" / "0010.png").write_bytes(encode_label_map(np.zeros((4, 4), np.uint8)))
    (tmp_path / "images" / "0011.png").write_bytes((tmp_path / "images" / "0005.png").read_bytes())
    (tmp_path / "labels" / "0011.png").write_bytes(encode_label_map(np.zeros((20, 40), np.uint8)))
    result = run(*folders, "--parser", "red", "--json")
    value = json.loads(result.stdout)
    assert (value["images"], value["clothes_iou"]) == (1, 1.0)
    assert value["skipped"] == {"no_label_map": 1, "not_an_image": 1, "label_map_size": 1}
    assert "warning: 3 images are not counted: label_map_size 1 (0011.png" in result.stderr
    (tmp_path / "labels" / "0005.png").write_bytes(b"")
    result = run(*folders, "--parser", "red")
    assert isinstance(result.exception, InputError)
    assert "no image could be scored: label_map_size 1 " in str(result.exception)


@pytest.mark.usefixtures("red")
def test_a_limit_spreads_over_the_folder_and_is_quiet_when_asked(folders):
    result = run(*folders, "--parser", "red", "--json", "--limit", "1", "--quiet")
    assert (json.loads(result.stdout)["images"], result.stderr) == (1, "")
    assert "score: 2/2 images" in run(*folders, "--parser", "red").stderr


@pytest.mark.usefixtures("red")
def test_precomputed_labels_agree_with_themselves(folders, tmp_path):
    root = f"parse.settings.root={tmp_path / 'labels'}"
    value = json.loads(run(*folders, "--parser", "precomputed", "--set", root, "--json").stdout)
    assert value["clothes_iou"] == value["pixel_accuracy"] == value["mean_iou"] == 1.0
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "0005.png").write_bytes((tmp_path / "labels" / "0005.png").read_bytes())
    result = run(*folders, "--parser", "precomputed", "--set", f"parse.settings.root={tmp_path / 'some'}", "--json")
    assert json.loads(result.stdout)["unparsed"] == {"no_label_map": 1}
    assert "could not parse 1 images: no_label_map 1" in result.stderr


@pytest.mark.usefixtures("red")
def test_a_view_is_cut_to_the_person_and_scaled(folders):
    result = run(*folders, "--parser", "red", "--view", "64x32")
    assert result.exit_code == 0, result.output
    score = float(result.stdout.split("clothes mask")[1].split()[0])
    assert score == pytest.approx(0.8, abs=0.05)


@pytest.mark.usefixtures("red")
def test_named_clothes_are_counted_instead(folders):
    value = json.loads(run(*folders, "--parser", "red", "--json", "--set", "parse.clothes_labels=[pants]").stdout)
    assert value["clothes_iou"] is None
    assert value["mean_image_iou"] == 1.0


@pytest.mark.parametrize("text", ["256", "256x", "0x5", "ax5", "5x-1", "256x9999", "9" * 5000 + "x5"])
def test_wrong_views_are_refused(text):
    with pytest.raises(InputError, match="expected HEIGHTxWIDTH"):
        parse_size(text)


def test_settings_on_the_command_line_reach_the_parser(folders, own_lite):
    weights = f"parse.settings.weights={own_lite}"
    value = json.loads(run(*folders, "--parser", "lite", "--set", weights, "--json").stdout)
    assert value["weights_sha256"] == sha256_of_file(own_lite)


def test_held_out_needs_numbered_names(folders, tmp_path):
    for name in ("images", "labels"):
        for path in (tmp_path / name).iterdir():
            path.rename(path.with_name(f"x{path.name}"))
    result = run(*folders, "--held-out")
    assert isinstance(result.exception, InputError)
    assert "no image has a number divisible by 5" in str(result.exception)


@pytest.fixture
def own_lite(tmp_path):
    from pipeline.parsing.lite.checkpoint import PACKAGED_WEIGHTS, load_lite, save_lite

    network, description = load_lite(PACKAGED_WEIGHTS)
    save_lite(tmp_path / "own.safetensors", network, replace(description, training={"made": "here"}))
    return tmp_path / "own.safetensors"


@pytest.mark.usefixtures("red")
def test_label_maps_of_another_numbering_are_told_how_to_name_it(folders, tmp_path):
    labels = tmp_path / "labels"
    for path in labels.iterdir():
        path.write_bytes(encode_label_map(np.full((40, 20), 59, np.uint8)))
    with pytest.raises(InputError, match=r"59.*lip has 0 to 19.*name it by --labels-scheme"):
        raise run(*folders, "--parser", "red").exception or AssertionError("accepted")


class HalfRed(RedIsShirt):
    """As red, but it misses the left half of the image, and cannot parse images without red in row 17."""

    name = "half"

    def parse(self, images, paths=None):
        found = []
        for image, parsing in zip(images, super().parse(images), strict=True):
            parsing.label_map[:, :10] = 0
            found.append(parsing if image[17].any() else BadImageError("odd", "no red there"))
        return found


@pytest.mark.usefixtures("red")
def test_two_parsers_are_scored_on_the_images_that_both_can_parse(folders, tmp_path):
    registry.register_parser("half", NoSettings)(lambda device: HalfRed(LIP, 5))
    out = tmp_path / "two.json"
    words = [*folders, "--parser", "red", "--second", "half", "--set", "parse.batch_size=1", "--out", str(out)]
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value == json.loads(out.read_text())
    # of the two images only the first is parsed by both: 100 true pixels, 100 found by the one, 50 by the other
    assert (value["first"]["parser"], value["second"]["parser"]) == ("red", "half")
    assert value["first"]["images"] == value["second"]["images"] == 1
    assert value["second"]["unparsed"] == {"odd": 1}
    assert (value["first"]["clothes_iou"], value["second"]["clothes_iou"]) == (1.0, 0.5)
    assert value["difference"]["clothes_iou"] == value["difference"]["class_iou"]["upper-clothes"] == -0.5
    assert value["difference"]["pixel_accuracy"] == pytest.approx(-50 / 800)
    assert (value["first_better"], value["second_better"]) == (1, 0)
    text = run(*words).stdout
    assert "upper-clothes       1.000    0.500     -0.500" in text
    assert "nearer to the truth by the first in 1, by the second in 0, equally near in 0" in text


@pytest.mark.usefixtures("red")
def test_a_parser_scored_beside_itself_differs_in_nothing(folders):
    single = json.loads(run(*folders, "--parser", "red-atr", "--labels-scheme", "lip", "--json").stdout)
    words = [*folders, "--parser", "red", "--labels-scheme", "lip", "--second", "red-atr", "--json"]
    value = json.loads(run(*words).stdout)
    times = {"ms_per_image"}
    assert {name: value["second"][name] for name in value["second"] if name not in times} == {
        name: single[name] for name in value["second"] if name not in times
    }
    assert value["difference"]["clothes_iou"] == value["difference"]["mean_image_iou"] == 0
    assert (value["first_better"], value["second_better"]) == (0, 0)


@pytest.mark.usefixtures("red")
def test_settings_of_the_second_parser_are_its_own(folders):
    named = [*folders, "--parser", "red", "--second", "red-atr"]
    for words, message in (
        ([*named, "--second-set", "parse.settings.odd=1"], "odd is not one of its settings"),
        ([*named, "--set", "parse.settings.odd=1"], "settings of the parser red: odd"),
        ([*folders, "--parser", "red", "--second", "nobody"], "unknown parser 'nobody'"),
        ([*folders, "--parser", "red", "--second-set", "parse.batch_size=2"], "goes with --second"),
    ):
        with pytest.raises(InputError, match=message):
            raise run(*words).exception or AssertionError("accepted")
