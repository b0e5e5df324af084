"""The parser sam3 against transformers' own processing, phrase by phrase."""

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from sam3_samples import as_published

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.images import encode_image, encode_label_map
from pipeline.labels import LIP
from pipeline.parsing.backends import load_backends
from pipeline.parsing.parser import check_device, create_parser
from pipeline.parsing.quality import NO_CENTRAL_PERSON
from pipeline.parsing.sam3.backend import create_sam3
from pipeline.parsing.sam3.loading import load_sam3
from pipeline.parsing.sam3.phrases import choose_phrases, load_facts
from stages.cli import run

SURE = 0.3
FEW = {"hat": "hat", "upper-clothes": "coat", "pants": "a hat at"}
"""Phrases of three labels of LIP; the person's comes besides."""
ONLY_FEW = {label: FEW.get(label) for label in load_facts().phrases if label in LIP.labels} | FEW


def pictures(*sizes):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


@pytest.fixture(scope="module")
def parser(sam3_folder):
    return create_sam3(str(sam3_folder), scheme="lip", phrases=ONLY_FEW, score_threshold=SURE)


def directly(folder, image, phrase, threshold):
    """Scores and masks of a phrase in an image, all by transformers."""
    processor = transformers.Sam3Processor.from_pretrained(folder)
    network = transformers.Sam3Model.from_pretrained(folder).eval()
    inputs = processor(images=Image.fromarray(image), text=phrase, return_tensors="pt")
    with torch.inference_mode():
        outputs = network(**inputs)
    (found,) = processor.post_process_instance_segmentation(outputs, threshold, 0.5, [image.shape[:2]])
    return found["scores"].numpy(), found["masks"].numpy().astype(bool)


@pytest.mark.parametrize("shape", [(64, 48), (37, 91)])
def test_instances_are_those_of_transformers(sam3_folder, parser, shape):
    image = pictures(shape)[0]
    found = parser.find(parser.see(parser._input(image)[None]), shape)
    for place, phrase in enumerate([*FEW.values(), "person"]):
        scores, masks = directly(sam3_folder, image, phrase, SURE)
        mine = [index for index, number in enumerate(found.classes) if number == place]
        assert len(scores)
        assert [found.scores[index] for index in mine] == pytest.approx(scores, abs=1e-5)
        for index, mask in zip(mine, masks, strict=True):
            assert np.mean(found.paste(index)[0] == mask) > 0.999


@pytest.mark.parametrize("shape", [(64, 48), (37, 91)])
def test_labels_are_those_of_a_loop_over_instances_by_score(sam3_folder, parser, shape):
    """The person's phrase has no label in LIP and paints nothing."""
    image = pictures(shape)[0]
    labelled = []
    for label, phrase in FEW.items():
        for score, mask in zip(*directly(sam3_folder, image, phrase, SURE), strict=True):
            labelled.append((score, LIP.labels.index(label), mask))
    expected = np.zeros(shape, np.uint8)
    for _, number, mask in sorted(labelled, key=lambda each: each[0]):
        expected[mask] = number
    parsing = parser.parse([image])[0]
    assert len(np.unique(expected)) > 2
    assert np.mean(parsing.label_map == expected) > 0.999
    assert 0 < parsing.confidence < 1


def test_the_person_is_what_no_other_label_covers(sam3_folder):
    image = pictures((64, 48))[0]
    own = create_sam3(str(sam3_folder), phrases={name: None for name in load_facts().phrases if name != "hat"},
                      score_threshold=SURE)  # fmt: skip
    assert own.scheme.name == "sam3"
    hats, people = (
        directly(sam3_folder, image, phrase, SURE)[1].any(axis=0) for phrase in ("hat", "person")
    )  # fmt: skip
    expected = np.where(hats, own.scheme.labels.index("hat"), np.where(people, 1, 0))
    assert (expected == 1).any()
    assert np.mean(own.parse([image])[0].label_map == expected) > 0.999


def test_the_central_person_is_kept(sam3_folder):
    """What lies by half in the mask of the most central person is painted, and nothing else."""
    image = pictures((64, 48))[0]
    central = create_sam3(str(sam3_folder), scheme="lip", phrases=ONLY_FEW, score_threshold=SURE, person_mode="central")
    people = directly(sam3_folder, image, "person", SURE)[1]
    person = max(people, key=lambda mask: mask[16:48, 12:36].sum())
    labelled = []
    for label, phrase in FEW.items():
        for score, mask in zip(*directly(sam3_folder, image, phrase, SURE), strict=True):
            if 2 * (mask & person).sum() >= mask.sum():
                labelled.append((score, LIP.labels.index(label), mask))
    expected = np.zeros((64, 48), np.uint8)
    for _, number, mask in sorted(labelled, key=lambda each: each[0]):
        expected[mask] = number
    assert np.mean(central.parse([image])[0].label_map == expected) > 0.99
    nobody = create_sam3(str(sam3_folder), score_threshold=0.99, person_mode="central").parse([image])[0]
    assert (nobody.label_map.any(), nobody.notes, nobody.confidence) == (False, (NO_CENTRAL_PERSON,), 0.0)


def test_an_image_does_not_depend_on_its_neighbours_nor_on_batches(parser):
    images = pictures((64, 48), (128, 64), (40, 40))
    alone = [parser.parse([image])[0] for image in images]
    for one, other in zip(alone, parser.parse(images), strict=True):
        assert np.array_equal(one.label_map, other.label_map)
        assert one.confidence == other.confidence
    assert parser.parse([]) == []
    parser._batch_size, parser._at_once = 2, 3  # as on other devices; up to near ties
    try:
        for one, other in zip(alone, parser.parse(images), strict=True):
            assert np.mean(one.label_map != other.label_map) < 0.01
            assert one.confidence == pytest.approx(other.confidence, abs=1e-3)
    finally:
        parser._batch_size = parser._at_once = 1


def test_the_published_form_is_read_too(sam3_folder, parser, tmp_path):
    folder = as_published(shutil.copytree(sam3_folder, tmp_path / "model"))
    image = pictures((64, 48))[0]
    found = create_sam3(str(folder), scheme="lip", phrases=ONLY_FEW, score_threshold=SURE).parse([image])[0]
    assert np.array_equal(found.label_map, parser.parse([image])[0].label_map)
    assert load_sam3(str(folder)).weights_sha256 == sha256_of_file(folder / "model.safetensors")


def test_the_registry_builds_it_and_knows_what_a_device_can_do(sam3_folder):
    load_backends("sam3")
    built = create_parser("sam3", model=str(sam3_folder), precision="bf16")
    assert (built.name, built.scheme.garments_only) == ("sam3", False)
    assert built.scheme.clothes == {built.scheme.labels.index(name) for name in load_facts().scheme["clothes"]}
    assert built.parse(pictures((40, 30)))[0].label_map.shape == (40, 30)
    check_device("sam3", "cuda", model="x", precision="fp16")
    with pytest.raises(InputError, match="fp16 needs a CUDA device"):
        check_device("sam3", "cpu", model="x", precision="fp16")


def test_phrases_are_the_packaged_ones_and_the_users():
    facts = load_facts()
    packaged = choose_phrases(None, None, facts.person)
    assert packaged.texts == (*facts.phrases.values(), "person")
    assert [packaged.scheme.labels[number] for number in packaged.targets] == [*facts.phrases, "person"]
    mine = choose_phrases("atr", {"belt": " a  belt ", "hat": None}, None)
    assert dict(zip(mine.texts, (mine.scheme.labels[number] for number in mine.targets), strict=True)) == {
        "hair": "hair", "upper clothes": "upper-clothes", "skirt": "skirt", "trousers": "pants", "dress": "dress",
        "face": "face", "bag": "bag", "scarf": "scarf", "a belt": "belt",
    }  # fmt: skip
    assert mine.person is None
    garments = {"name": "two", "labels": ["none", "coat", "pants"], "clothes": ["coat", "pants"]}
    assert choose_phrases(garments, None, "person").scheme.garments_only


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"phrases": {"tail": "tail"}}, "label scheme sam3 has no label 'tail'; it has: person, hat"),
        ({"phrases": {"hat": "hair"}}, "the phrase 'hair' is empty, or stands for two labels"),
        ({"phrases": {"hat": "  "}}, "the phrase '' is empty"),
        ({"phrases": {"person": "man"}}, "the phrase of whole persons is parse.settings.person"),
        ({"scheme": "pascal"}, "gives no label of the scheme pascal a phrase; its labels are: head, torso"),
        ({"phrases": {"hat": "hat " * 40}}, "'hat hat .*' is too long: 32 tokens are the most"),
        ({"precision": "fp16"}, "fp16 needs a CUDA device"),
    ],
)
def test_wrong_settings_are_one_line(sam3_folder, settings, message):
    with pytest.raises(InputError, match=message) as error:
        create_sam3(str(sam3_folder), **settings)
    assert "\n" not in str(error.value)


def test_other_models_and_damaged_ones_are_one_line(sam3_folder, tmp_path):
    def refused(folder, message):
        with pytest.raises(InputError, match=message) as error:
            load_sam3(str(folder))
        assert "\n" not in str(error.value)

    folder = shutil.copytree(sam3_folder, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    refused(folder, "no tokenizer.json in .*: the model's tokenizer must be saved with it")
    folder = shutil.copytree(sam3_folder, tmp_path / "other")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "model_type": "sam2"}))
    refused(folder, "is a sam2, and the parser sam3 needs one of sam3 or sam3_video")
    (folder / "config.json").write_text(json.dumps(values | {"detr_decoder_config": {"hidden_size": 32, "num_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32, "num_queries": 6}}))  # fmt: skip
    refused(folder, "the weights of the model .* do not fit its config.json: .* missing")
    (folder / "model.safetensors").unlink()
    refused(folder, "no weights in")


def test_a_model_that_is_not_there_offline_is_one_line_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name, data in (
        ("images", encode_image(pictures((40, 30))[0])),
        ("labels", encode_label_map(np.zeros((40, 30), np.uint8))),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(data)
    words = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels"), "--parser", "sam3"]
    assert run(["parse-score", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the model facebook/sam3 can neither be read from the hub nor from its cache")
    assert "accept the licence on its page there and log in" in error
    assert error.count("\n") == 1


def test_parse_score_scores_it(sam3_folder, parser, tmp_path, capsys):
    """Against its own label maps it is right everywhere."""
    image = pictures((64, 48))[0]
    for name, data in (
        ("images", encode_image(image)), ("labels", encode_label_map(parser.parse([image])[0].label_map))
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(data)
    settings = {"model": str(sam3_folder), "scheme": "lip", "phrases": ONLY_FEW, "score_threshold": SURE}
    words = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels"), "--parser", "sam3", "--json"]
    assert run(["parse-score", *words, "--set", f"parse.settings={json.dumps(settings)}"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["clothes_iou"], value["pixel_accuracy"], value["parser"]) == (1.0, 1.0, "sam3")
