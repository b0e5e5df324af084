"""The parser transformers behind the protocol, against transformers itself."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation
from transformers_samples import ATR_LIKE, FASHN, pictures, save_model

from pipeline.datasets.manifest import MANIFEST_SCHEMA
from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.labels import ATR, LIP
from pipeline.parsing.backends import load_backends
from pipeline.parsing.parser import check_device, create_parser, identify_parser
from pipeline.parsing.transformers.backend import create_transformers
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.settings import ShardSettings

FINGERPRINT = "b792cbc7f76da23d5b49b0b634884e9b375f9b9898494db7a473a463ec2e0472"
"""As it was when the parser had no other name than segformer."""

NO_FP16 = r"parse\.settings\.precision: fp16 needs a CUDA device, the device here is cpu; use bf16 or fp32"


def directly(folder, image):
    """Logits of the image's own size, as the models' cards compute them."""
    processor = AutoImageProcessor.from_pretrained(folder)
    network = AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = network(**processor(images=Image.fromarray(image), return_tensors="pt")).logits
        return torch.nn.functional.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("shape", [(64, 48), (256, 128), (37, 91), (3, 40), (1, 1)])
def test_labels_and_confidence_are_those_of_transformers(atr_folder, shape):
    image = pictures(shape)[0]
    parsing = create_transformers(str(atr_folder)).parse([image])[0]
    logits = directly(atr_folder, image)
    clear = torch.topk(logits, 2, dim=0).values.diff(dim=0)[0].abs() > 1e-3
    assert clear.float().mean() > 0.95
    assert np.array_equal(parsing.label_map[clear.numpy()], logits.argmax(0)[clear].numpy())
    person = logits.argmax(0) > 0
    expected = float(logits.softmax(0).max(0).values[person].mean()) if person.any() else 0.0
    assert parsing.confidence == pytest.approx(expected, abs=1e-3)


def test_the_registry_builds_it(atr_folder):
    load_backends("transformers")
    parser = create_parser("transformers", model=str(atr_folder))
    assert parser.name == "transformers"
    assert parser.scheme is ATR
    assert parser.weights_sha256 == sha256_of_file(atr_folder / "model.safetensors")
    assert parser.parse([]) == []


def test_an_image_does_not_depend_on_its_neighbours(atr_folder):
    parser = create_transformers(str(atr_folder))
    images = pictures((64, 48), (256, 128), (64, 48), (40, 90))
    for image, parsing in zip(images, parser.parse(images), strict=True):
        alone = parser.parse([image])[0]
        assert len(np.unique(parsing.label_map)) > 1
        assert np.array_equal(alone.label_map, parsing.label_map)
        assert alone.confidence == parsing.confidence


@pytest.mark.parametrize("resize", [True, False])
def test_batches_of_fixed_size_give_what_single_images_give(resize, tmp_path):
    """What other devices do, also with a processor that leaves the sizes alone; up to near ties."""
    parser = create_transformers(str(save_model(tmp_path, do_resize=resize)))
    images = pictures((64, 48), (96, 64), (64, 48), (64, 48), (96, 64))
    alone = parser.parse(images)
    parser._batch_size = 2
    for one, other in zip(alone, parser.parse(images), strict=True):
        assert one.label_map.shape == other.label_map.shape
        assert np.mean(one.label_map != other.label_map) < 0.01
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_a_scheme_of_its_own_and_its_default_clothes(tmp_path):
    parser = create_transformers(str(save_model(tmp_path / "fashn-human-parser", FASHN)))
    assert parser.scheme.name == "fashn-human-parser"
    assert parser.scheme.labels == tuple(FASHN)
    assert parser.scheme.clothes == {3, 4, 5, 6, 7}


def test_classes_are_mapped_to_a_scheme(atr_folder):
    image = pictures((64, 48))[0]
    own = create_transformers(str(atr_folder)).parse([image])[0]
    mapped = create_transformers(str(atr_folder), scheme="lip", labels={"Belt": "pants", "Bag": "background"})
    assert mapped.scheme == LIP
    names = {name: name.lower() for name in ATR_LIKE} | {"Belt": "pants", "Bag": "background"}
    numbers = np.array([LIP.labels.index(names[name]) for name in ATR_LIKE])
    parsing = mapped.parse([image])[0]
    assert np.array_equal(parsing.label_map, numbers[own.label_map])
    # what is mapped to the background is no person, so it does not count for the confidence
    top = directly(atr_folder, image).softmax(0).max(0).values.numpy()
    assert parsing.confidence == pytest.approx(top[parsing.label_map > 0].mean(), abs=1e-3)


def test_a_scheme_may_be_described_in_place(atr_folder):
    described = {"name": "coarse", "labels": ["none", "clothes", "rest"], "clothes": ["clothes"]}
    garments = ("Upper-clothes", "Skirt", "Pants", "Dress", "Belt")
    labels = {name: "clothes" if name in garments else "rest" for name in ATR_LIKE} | {"Background": "none"}
    parser = create_transformers(str(atr_folder), scheme=described, labels=labels)
    assert parser.scheme.clothes == {1}
    assert set(np.unique(parser.parse(pictures((64, 48)))[0].label_map)) <= {0, 1, 2}


def test_settings_that_do_not_go_together_are_refused(atr_folder):
    with pytest.raises(InputError, match=r"parse\.settings\.labels maps .*parse\.settings\.scheme"):
        create_transformers(str(atr_folder), labels={"Bag": "background"})
    with pytest.raises(InputError, match="lip has no label for the model's classes Belt, Bag"):
        create_transformers(str(atr_folder), scheme="lip")
    with pytest.raises(InputError, match="unknown label scheme 'lop'"):
        create_transformers(str(atr_folder), scheme="lop")
    with pytest.raises(InputError, match=NO_FP16):
        create_transformers(str(atr_folder), precision="fp16")
    load_backends("transformers")
    identity = identify_parser("transformers", model=str(atr_folder), precision="fp16")
    assert (identity.scheme, identity.weights_sha256) == (ATR, sha256_of_file(atr_folder / "model.safetensors"))
    check_device("transformers", "cuda", model="anything", precision="fp16")
    with pytest.raises(InputError, match=NO_FP16):
        check_device("transformers", "cpu", model="anything", precision="fp16")
    with pytest.raises(InputError, match=r"model must be given \(parse\.settings\.model\), or a preset"):
        create_parser("transformers")


def test_bf16_is_close(atr_folder):
    image = pictures((128, 64))[0]
    full = create_transformers(str(atr_folder)).parse([image])[0]
    short = create_transformers(str(atr_folder), precision="bf16").parse([image])[0]
    assert full.confidence != short.confidence
    assert np.mean(full.label_map != short.label_map) < 0.15


def test_the_former_name_gives_the_same_parser_and_binds_shards_as_it_did(atr_folder):
    load_backends("segformer")
    image = pictures((64, 48))[0]
    old, new = (create_parser(name, model=str(atr_folder)) for name in ("segformer", "transformers"))
    assert np.array_equal(old.parse([image])[0].label_map, new.parse([image])[0].label_map)
    assert (old.scheme, old.weights_sha256) == (new.scheme, new.weights_sha256)
    settings = ShardSettings(parser="segformer", settings={"model": "somebody/clothes", "revision": "1"})
    table = pa.Table.from_pylist([], schema=MANIFEST_SCHEMA)
    identity = SimpleNamespace(scheme=ATR, weights_sha256="0" * 64)
    content, provenance = bind_content("mine", table, settings, identity)
    assert (content["parser"], provenance.parser) == ("segformer", "segformer")
    assert content["parser_settings"] == {"model": "somebody/clothes", "revision": "1"}
    assert provenance.fingerprint == FINGERPRINT
