"""The parser schp through the real command line: two images into shards on Ray, and what a user sees of mistakes."""

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from schp_samples import FILES, pictures

from pipeline.files import sha256_of_file
from pipeline.images import encode_image
from pipeline.parsing.schp.backend import create_schp
from pipeline.shards.reader import ShardReader
from stages.cli import run


@pytest.fixture
def two_images(tmp_path):
    """A data set of two pictures and its description; returns the description's path and the pictures."""
    (tmp_path / "two").mkdir()
    images = pictures((64, 32), (40, 48))
    lines = ["path,split,person_id,camera_id"]
    for index, image in enumerate(images):
        (tmp_path / "two" / f"{index}.png").write_bytes(encode_image(image))
        lines.append(f"{index}.png,train,{index},1")
    (tmp_path / "two" / "labels.csv").write_text("\n".join(lines) + "\n")
    facts = tmp_path / "two.yaml"
    facts.write_text(
        yaml.safe_dump(
            {
                "name": "two", "title": "Two", "reader": "custom", "home": "here", "access": "made by a test",
                "terms": "none", "layout": "a table", "markers": ["labels.csv"], "protocols": ["general"],
                "roles": {"train": ["train"]}, "settings": {"table": "labels.csv"},
            }
        )
    )  # fmt: skip
    return facts, images


def parser_options(weights):
    return ["--set", "device=cpu", "--set", "parse.parser=schp", "--set", f"parse.settings.weights={weights}"]


def test_images_are_parsed_into_shards(two_images, lip_file, tmp_path):
    facts, images = two_images
    code = "import sys; from stages.cli import main; sys.argv[0] = 'ccaf-pipeline'; main()"
    options = ["--dataset", facts, "--root", tmp_path, "--out", tmp_path / "shards", "--workers", "1"]
    command = [sys.executable, "-c", code, "parse", *map(str, options), *parser_options(lip_file.parent)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    shard = tmp_path / "shards" / "part-00000-of-00001.parquet"
    metadata = pq.read_schema(shard).metadata
    assert metadata[b"ccaf.parser"] == b"schp"
    assert metadata[b"ccaf.weights_sha256"].decode() == sha256_of_file(lip_file)
    reader = ShardReader(tmp_path / "shards")
    for index, parsing in enumerate(create_schp(lip_file).parse(images)):
        assert np.array_equal(reader.label_map(index), parsing.label_map)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "weights of the parser schp not found"), (b"<html>", "cannot be read, the file is truncated, damaged or")],
)
def test_a_mistake_is_one_line_and_exit_code_two(content, message, two_images, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "weights.pth"
    if content is not None:
        weights.write_bytes(content)
    facts, _ = two_images
    options = ["--dataset", str(facts), "--root", str(tmp_path), "--out", str(tmp_path / "shards"), "--quiet"]
    assert run(["parse", *options, *parser_options(weights)]) == 2
    shown = capfd.readouterr().err.strip()
    assert shown.startswith("error: ")
    assert message in shown
    assert FILES["lip"] in shown
    assert "\n" not in shown
