"""The command parse-score, against scores that are known beforehand."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pipeline.errors import InputError
from pipeline.images import encode_image, encode_label_map
from pipeline.parsing import parser as registry
from pipeline.parsing.backends import load_backends
from pipeline.parsing.parser import Parsing
from pipeline.parsing.schemes import ATR, LIP
from stages.parse_score import command, parse_size


class RedIsShirt:
    """Labels red pixels upper-clothes and everything else background."""

    name, weights_sha256 = "red", "0" * 64

    def __init__(self, scheme, shirt):
        self.scheme, self.shirt = scheme, shirt

    def parse(self, images):
        return [Parsing(np.where(image[:, :, 0] > 128, self.shirt, 0).astype(np.uint8), 1.0) for image in images]


@pytest.fixture
def red(monkeypatch):
    load_backends()
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    registry.register_parser("red")(lambda device, **_: RedIsShirt(LIP, 5))
    registry.register_parser("red-atr")(lambda device, **_: RedIsShirt(ATR, 4))


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
    assert json.loads(run(*listed, "--parser", "red", "--json").stdout)["clothes_iou"] == 0.8
    with pytest.raises(InputError, match="red-atr has the scheme atr"):
        raise run(*listed, "--parser", "red-atr").exception or AssertionError("accepted")


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


@pytest.mark.parametrize("text", ["256", "256x", "0x5", "ax5", "5x-1"])
def test_wrong_views_are_refused(text):
    with pytest.raises(InputError, match="expected HEIGHTxWIDTH"):
        parse_size(text)


def test_folders_without_people_are_refused(tmp_path, small_lite):
    weights = f"parse.settings.weights={small_lite}"
    result = run("--images", str(tmp_path), "--labels", str(tmp_path), "--parser", "lite", "--set", weights)
    assert isinstance(result.exception, InputError)
    assert "no images with labelled people" in str(result.exception)


@pytest.fixture
def small_lite(tmp_path):
    from pipeline.parsing.lite.checkpoint import LiteDescription, save_lite

    description = LiteDescription(widths=(4, 8, 8, 8), blocks=(1, 1, 1, 1), size=(64, 32))
    save_lite(tmp_path / "small.safetensors", description.build(), description)
    return tmp_path / "small.safetensors"
