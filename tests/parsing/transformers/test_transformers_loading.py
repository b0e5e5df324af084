"""Where a model comes from, and what is said when it cannot be had."""

import json
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers_samples import pictures

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.parsing.saved.folder import weight_files
from pipeline.parsing.transformers.loading import load_model


@pytest.fixture
def folder(atr_folder, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(atr_folder, tmp_path / "model")


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(model, message, **more):
    with pytest.raises(InputError, match=message) as error:
        load_model(str(model), **more)
    assert "\n" not in str(error.value)


def test_a_folder_is_loaded_without_a_word(atr_folder, capfd):
    before = transformers.utils.logging.get_verbosity()
    loaded = load_model(str(atr_folder))
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == before
    assert not loaded.network.training
    assert loaded.id2label[4] == "Upper-clothes"
    assert loaded.weights_sha256 == sha256_of_file(atr_folder / "model.safetensors")
    saved = load_file(atr_folder / "model.safetensors")
    assert all(
        torch.equal(saved[name], tensor) for name, tensor in loaded.network.state_dict().items() if name in saved
    )


def test_weights_in_half_precision_are_computed_with_in_full(folder):
    halves = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", dtype="float16")
    assert {each.dtype for each in load_model(str(folder)).network.parameters()} == {torch.float32}


def test_pytorch_files_are_read_as_tensors_only(folder, tmp_path):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    loaded = load_model(str(folder))
    assert loaded.weights_sha256 == sha256_of_file(folder / "pytorch_model.bin")
    assert torch.equal(loaded.network.decode_head.classifier.weight, tensors["decode_head.classifier.weight"])

    class Planted:
        def __reduce__(self):
            return open, (str(tmp_path / "trace"), "w")

    torch.save({**tensors, "more": Planted()}, folder / "pytorch_model.bin")
    refused(folder, "cannot be loaded")
    assert not (tmp_path / "trace").exists()


def test_weights_in_several_files_have_one_hash(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}, "metadata": {"total_size": 1}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    first = load_model(str(folder)).weights_sha256
    assert [file.name for file in weight_files(folder)] == sorted(parts)
    tensors[names[1]] = tensors[names[1]] + 1
    save_file({name: tensors[name] for name in names[1::2]}, folder / max(parts), metadata={"format": "pt"})
    assert load_model(str(folder)).weights_sha256 != first
    (folder / next(iter(parts))).unlink()
    refused(folder, "names weights that are not beside it: model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text("[]")
    refused(folder, "is no index of weights")


def test_the_weights_that_config_json_names_are_loaded_and_hashed(folder):
    tensors = load_file(folder / "model.safetensors")
    name = "decode_head.classifier.bias"
    save_file({**tensors, name: tensors[name] + 1}, folder / "better.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", transformers_weights="better.safetensors")
    loaded = load_model(str(folder))
    assert torch.equal(loaded.network.decode_head.classifier.bias, tensors[name] + 1)
    assert loaded.weights_sha256 == sha256_of_file(folder / "better.safetensors")
    (folder / "model.safetensors").unlink()
    assert load_model(str(folder)).weights_sha256 == loaded.weights_sha256
    index = {"weight_map": dict.fromkeys(tensors, "better.safetensors"), "metadata": {"total_size": 1}}
    (folder / "mine.safetensors.index.json").write_text(json.dumps(index))
    edit(folder / "config.json", transformers_weights="mine.safetensors.index.json")
    assert weight_files(folder) == [folder / "better.safetensors"]
    assert load_model(str(folder)).weights_sha256 == loaded.weights_sha256


@pytest.mark.parametrize("name", ["../model.safetensors", "model.bin", 3, "", "a/b.safetensors"])
def test_named_weights_that_are_elsewhere_or_may_hold_code_are_refused(name, folder):
    edit(folder / "config.json", transformers_weights=name)
    refused(folder, r"config\.json: transformers_weights must name a file beside it that ends in \.safetensors or")


def test_named_weights_that_are_not_there_are_refused(folder):
    edit(folder / "config.json", transformers_weights="gone.safetensors")
    refused(folder, r"config\.json: transformers_weights names gone\.safetensors, which is not beside it")


def test_weights_must_fit_to_the_last_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    name = "decode_head.classifier.bias"

    def write(**changed):
        save_file({**tensors, **changed}, folder / "model.safetensors", metadata={"format": "pt"})

    write(extra=torch.zeros(2))
    refused(folder, r"do not fit its config\.json: 1 unexpected \(extra\)")
    write(**{name: torch.zeros(3)})
    refused(folder, rf"do not fit its config\.json: 1 mismatched \({name}\)")
    save_file(
        {key: tensors[key] for key in tensors if key != name}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    refused(folder, rf"do not fit its config\.json: 1 missing \({name}\)")


def test_what_is_missing_in_a_folder_is_named(folder, tmp_path):
    refused(tmp_path / "absent", "absent is neither a folder .* nor a name on the hub")
    refused("not_a_name", "not_a_name is neither a folder")
    refused(folder, "revision goes with a name on the hub, but .* is a folder", revision="main")
    (folder / "preprocessor_config.json").unlink(missing_ok=True)
    (folder / "processor_config.json").unlink(missing_ok=True)
    refused(folder, "no preprocessor_config.json in")
    (folder / "config.json").write_text("{}")
    refused(folder, "no configuration of a transformers model: it has no model_type")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json cannot be read as JSON")
    (folder / "config.json").unlink()
    refused(folder, "configuration of the model not found")


def test_missing_and_truncated_weights_are_one_line(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(folder, "cannot be loaded")
    (folder / "model.safetensors").unlink()
    refused(folder, "no weights in .*: it has none of model.safetensors")


def test_other_kinds_of_models_are_refused(folder):
    edit(folder / "config.json", model_type="bert")
    refused(folder, "cannot be loaded")


def test_a_model_that_brings_its_own_code_is_refused(folder, tmp_path):
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nclass C: pass\nclass M: pass\n")
    automatic = {"AutoConfig": "mine.C", "AutoModelForSemanticSegmentation": "mine.M"}
    edit(folder / "config.json", model_type="mine", auto_map=automatic)
    refused(folder, "cannot be loaded: it needs code of its own, which this program never runs")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("what", "processor"),
    [
        ("do_center_crop", transformers.MobileViTImageProcessor()),
        ("do_pad", transformers.DPTImageProcessor(do_pad=True, size_divisor=32)),
    ],
)
def test_processors_that_move_the_image_are_refused(what, processor, folder):
    processor.save_pretrained(folder)
    refused(folder, rf"{what} in preprocessor_config\.json")


def processor_file(folder):
    path = folder / "preprocessor_config.json"
    assert path.is_file()
    return path


def of_release_4(kind, size):
    """The settings that SegformerFeatureExtractor.save_pretrained wrote in late and in early releases of version 4."""
    common = {
        "do_normalize": True, "do_resize": True, "resample": 2,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    if kind == "early":
        return {"feature_extractor_type": "SegformerFeatureExtractor", "reduce_labels": False, "size": size, **common}
    more = {"do_rescale": True, "rescale_factor": 1 / 255, "do_reduce_labels": False}
    return {
        "image_processor_type": "SegformerFeatureExtractor",
        "size": {"height": size, "width": size},
        **more,
        **common,
    }


@pytest.mark.parametrize("kind", ["late", "early", "nested"])
def test_an_image_processor_saved_by_transformers_4_scales_as_the_one_of_today(kind, folder):
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).unlink(missing_ok=True)
    transformers.SegformerImageProcessor(size={"height": 48, "width": 48}).save_pretrained(folder)
    today = load_model(str(folder)).processor
    processor_file(folder).write_text(json.dumps(of_release_4(kind, 48)))
    if kind == "nested":
        processor_file(folder).rename(folder / "processor_config.json")
        settings = json.loads((folder / "processor_config.json").read_text())
        (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    found = load_model(str(folder)).processor
    assert type(found) is type(today)
    image = pictures((70, 31))
    values = [each(images=image, return_tensors="pt", input_data_format="channels_last") for each in (today, found)]
    assert values[0]["pixel_values"].shape == (1, 3, 48, 48)
    assert torch.equal(values[0]["pixel_values"], values[1]["pixel_values"])


def test_other_classes_renamed_in_transformers_5_are_found(folder):
    transformers.MobileViTImageProcessor(do_center_crop=False).save_pretrained(folder)
    today = load_model(str(folder)).processor
    edit(processor_file(folder), image_processor_type="MobileViTFeatureExtractor")
    assert type(load_model(str(folder)).processor) is type(today)


@pytest.mark.parametrize("name", ["OldFeatureExtractor", "OldImageProcessor", "OldImageProcessorFast"])
def test_a_class_that_transformers_does_not_have_is_the_cause_that_is_named(name, folder):
    edit(processor_file(folder), image_processor_type=name)
    refused(
        folder,
        rf"image processor of the model .* cannot be loaded: .*preprocessor_config\.json names the class {name}, "
        rf"which transformers {transformers.__version__} does not have$",
    )


def test_settings_of_the_processor_that_are_none_are_refused(folder):
    edit(processor_file(folder), image_processor_type=["SegformerImageProcessor"])
    refused(folder, r"preprocessor_config\.json: image_processor_type must be the name of a class, not \[")
    processor_file(folder).write_text("[]")
    refused(folder, r"preprocessor_config\.json holds no settings of an image processor")
    processor_file(folder).write_text("{")
    refused(folder, r"settings of the image processor .*preprocessor_config\.json cannot be read as JSON")
    processor_file(folder).unlink()
    (folder / "processor_config.json").write_text(json.dumps({"tokenizer": {}}))
    refused(folder, r"no preprocessor_config\.json in")


def test_a_message_of_the_library_ends_after_a_word(folder):
    (folder / "config.json").write_text(
        json.dumps({"model_type": "bert"})
    )  # answered by a list of all models there are
    with pytest.raises(InputError) as error:
        load_model(str(folder))
    words = str(error.value).removesuffix(" ...").split("cannot be loaded: ")[1]
    with pytest.raises(ValueError, match="BertConfig") as whole:
        transformers.AutoModelForSemanticSegmentation.from_pretrained(str(folder))
    assert str(error.value).endswith(" ...")
    assert " ".join(str(whole.value).split()).startswith(words + " ")


@pytest.fixture
def hub_cache(atr_folder, tmp_path, monkeypatch):
    """A hub cache that holds the model somebody/clothes, and no way to the hub."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub"
    repository = cache / "models--somebody--clothes"
    shutil.copytree(atr_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.mark.usefixtures("hub_cache")
def test_a_hub_name_is_read_from_the_cache_without_the_hub(atr_folder):
    loaded = load_model("somebody/clothes")
    assert loaded.weights_sha256 == sha256_of_file(atr_folder / "model.safetensors")


@pytest.mark.usefixtures("hub_cache")
def test_a_hub_name_that_cannot_be_had_is_one_line():
    refused(
        "somebody/else", r"somebody/else can neither be read from the hub nor from its cache \(OfflineModeIsEnabled"
    )
    refused("somebody/clothes", "somebody/clothes at revision v2 can neither", revision="v2")
    refused("some body/cl?thes", "can neither")


def test_without_the_package_the_extra_is_named(atr_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(
        atr_folder,
        r"the parser transformers needs transformers, which cannot be imported \(.*transformers.*\): "
        r"pip install 'ccaf-pipeline\[transformers\]'",
    )


def test_the_program_is_imported_without_the_package():
    """In a process where importing transformers fails: every parser registers, and the command line starts."""
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "import stages.cli\n"
        "from pipeline.parsing.backends import load_backends\n"
        "from pipeline.parsing.parser import parser_names\n"
        "load_backends(); assert {'segformer', 'transformers'} <= set(parser_names())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
