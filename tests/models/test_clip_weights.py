"""What ``model.pretrained`` may name: whose form weights have, which model they fit, where they are to be had."""

import json

import pytest
import torch
from clips import make_clip
from safetensors.torch import save_file
from weight_forms import CONFIG, SIZE, openai_archive, plain_clip, transformers_names

from pipeline.errors import InputError
from pipeline.files import sha256_of_value
from pipeline.models import clip_weights
from pipeline.models.checkpoint import save_checkpoint
from pipeline.models.clip import clip_state, load_image_encoder
from pipeline.models.settings import ModelSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def config(folder):
    path = folder / "forms-clip.json"
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture(scope="module")
def gelu_config(folder):
    path = folder / "gelu-clip.json"
    path.write_text(json.dumps({**CONFIG, "quick_gelu": False}))
    return path


@pytest.fixture(scope="module")
def model(config):
    return plain_clip(config, seed=3)


@pytest.fixture(scope="module")
def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def archive(config, folder):
    openai_archive(plain_clip(config, seed=3), folder / "archive.pt")
    return folder / "archive.pt"


def images(size=SIZE):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def load(config, weights, **settings):
    return make_clip(config, weights, **{"image_size": SIZE, **settings}).freeze()


def encoder(config, weights, **settings):
    values = {"image_size": SIZE, **settings}
    loaded = load_image_encoder(ModelSettings(name=str(config), pretrained=str(weights), **values))
    loaded.encoder.requires_grad_(False).eval()
    return loaded


def same_clip(clip, model, tolerance=1e-5):
    """The CLIP gives what open_clip's own model gives, for images and for texts."""
    tokens = clip.tokenizer(["a photo of a person", "clothes"])
    with torch.no_grad():
        expected = model.encode_image(images()), model.encode_text(tokens)
    found = clip.image_encoder(images()).projected, clip.text_encoder.encode_tokens(tokens)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)
    assert clip.logit_scale.shape == ()


def test_openais_archive_gives_the_features_of_the_model_in_float32(config, archive, model, state, folder):
    clip = load(config, archive)
    assert {value.dtype for value in clip_state(clip).values()} == {torch.float32}
    same_clip(clip, model, tolerance=2e-2)  # the file has half precision
    torch.save({name: value.half() for name, value in state.items()}, folder / "tensors.pt")
    tensors = clip_state(load(config, folder / "tensors.pt"))
    assert all(torch.equal(value, tensors[name]) for name, value in clip_state(clip).items())


def test_a_trainers_checkpoint_gives_the_features_of_the_model(config, model, state, tmp_path):
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 1, "name": "x", "state_dict": wrapped, "optimizer": {}}, tmp_path / "epoch_1.pt")
    clip = load(config, tmp_path / "epoch_1.pt")
    same_clip(clip, model)
    assert clip.note == f"weights {tmp_path / 'epoch_1.pt'}: taken from inside state_dict module."


def test_names_of_transformers_give_the_features_of_the_model(config, model, state, tmp_path):
    save_file(transformers_names(state), tmp_path / "model.safetensors")
    clip = load(config, tmp_path / "model.safetensors")
    same_clip(clip, model)
    assert "read in the form of transformers" in clip.note
    image = {name: value for name, value in transformers_names(state).items() if "text" not in name}
    image.pop("logit_scale")
    save_file(image, tmp_path / "image.safetensors")
    loaded = encoder(config, tmp_path / "image.safetensors")
    torch.testing.assert_close(loaded.encoder(images()).projected, model.encode_image(images()).detach())


def test_what_transformers_itself_saves_gives_its_own_features(config, tmp_path):
    transformers = pytest.importorskip("transformers")
    vision, text = CONFIG["vision_cfg"], CONFIG["text_cfg"]
    square = {**CONFIG, "vision_cfg": {**vision, "image_size": 64}}
    square_config = tmp_path / "square-clip.json"
    square_config.write_text(json.dumps(square))
    common = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "quick_gelu", "projection_dim": 24}
    theirs = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={
                **common,
                "hidden_size": text["width"],
                "intermediate_size": 4 * text["width"],
                "vocab_size": text["vocab_size"],
                "max_position_embeddings": text["context_length"],
            },
            vision_config={
                **common,
                "hidden_size": vision["width"],
                "intermediate_size": 4 * vision["width"],
                "image_size": 64,
                "patch_size": 16,
            },
            projection_dim=24,
        )
    ).eval()
    theirs.save_pretrained(tmp_path / "hf")
    clip = load(square_config, tmp_path / "hf" / "model.safetensors", image_size=(64, 64))
    pixels = images((64, 64))
    with torch.no_grad():
        pooled = theirs.vision_model(pixel_values=pixels).pooler_output
        expected = theirs.visual_projection(pooled)
    torch.testing.assert_close(clip.image_encoder(pixels).projected, expected, atol=1e-5, rtol=1e-4)
    gelu = tmp_path / "square-gelu.json"
    gelu.write_text(json.dumps({**square, "quick_gelu": False}))
    with pytest.raises(InputError, match=r"as config.json beside it says.* another activation than square-gelu"):
        load(gelu, tmp_path / "hf" / "model.safetensors", image_size=(64, 64))


def reid_network(clip, prefix):
    """The tensors of a network in CLIP-ReID's form: a tower for people's images among heads and prompts."""
    tower = clip.image_encoder.tower.state_dict()
    return {
        **{f"{prefix}{name}": value.clone() for name, value in tower.items()},
        "classifier.weight": torch.zeros(7, 32),
        "bottleneck.weight": torch.ones(32),
        "prompt_learner.cls_ctx": torch.zeros(7, 4, 16),
        "text_encoder.ln_final.weight": torch.ones(16),
    }


@pytest.mark.parametrize("prefix", ["image_encoder.", "visual.", ""])
@pytest.mark.parametrize("size", [SIZE, (128, 64)])
def test_the_image_encoder_of_a_reid_network_is_taken_as_it_is(config, tmp_path, prefix, size):
    clip = make_clip(config, image_size=size, seed=5).freeze()
    tensors = reid_network(clip, prefix)
    if prefix == "":
        tensors = {name: value for name, value in tensors.items() if not name.startswith(("prompt", "text_enc"))}
    torch.save(tensors, tmp_path / "reid.pth")
    loaded = encoder(config, tmp_path / "reid.pth", image_size=size)
    torch.testing.assert_close(loaded.encoder(images(size)), clip.image_encoder(images(size)))
    assert "without its bottleneck, classifier" in loaded.note
    with pytest.raises(InputError, match=r"which has no text encoder, and training needs one: set model.pretrained"):
        load(config, tmp_path / "reid.pth", image_size=size)


def test_positions_of_people_of_another_size_are_refused(config, tmp_path):
    torch.save(reid_network(make_clip(config, image_size=(128, 64)), "image_encoder."), tmp_path / "reid.pth")
    reason = r"positional_embedding is \(33, 32\) in the file and \(13, 32\) in the model"
    with pytest.raises(InputError, match=reason):
        encoder(config, tmp_path / "reid.pth", image_size=(96, 32))


def test_names_of_both_sides_are_shown(config, state, tmp_path):
    torch.save({"backbone.layer1.weight": torch.zeros(3), "fc.bias": torch.zeros(2)}, tmp_path / "resnet.pth")
    with pytest.raises(InputError) as got:
        load(config, tmp_path / "resnet.pth")
    for word in (
        "file has backbone.layer1.weight, fc.bias",
        "model has logit_scale, text.",
        "and 56 more, which the file lacks",
    ):
        assert word in str(got.value), got.value
    torch.save({**state, "adapter.weight": torch.zeros(3)}, tmp_path / "more.pth")
    with pytest.raises(InputError, match=r"of another model: the file has adapter.weight, which the model lacks$"):
        load(config, tmp_path / "more.pth")


def test_integers_are_refused_in_every_form(config, state, tmp_path):
    save_file(
        transformers_names({**state, "visual.ln_pre.weight": torch.ones(32, dtype=torch.int8)}),
        tmp_path / "w.safetensors",
    )
    with pytest.raises(InputError, match=r"visual\.ln_pre\.weight is int8, but these are floating-point"):
        load(config, tmp_path / "w.safetensors")


def test_openais_archives_need_quickgelu(gelu_config, archive):
    with pytest.raises(
        InputError, match=r"as OpenAI publishes them.* another activation than gelu-clip: set quick_gelu"
    ):
        load(gelu_config, archive)


def test_what_lies_beside_a_file_tells_its_activation(config, state, tmp_path):
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 24}}))
    with pytest.raises(
        InputError, match=r"as open_clip_config.json beside it says.* another activation than forms-clip"
    ):
        load(config, tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    load(config, tmp_path / "open_clip_pytorch_model.bin")


def test_a_published_file_is_known_by_its_hash():
    from open_clip.pretrained import get_pretrained_cfg

    from pipeline.models.activations import _by_hash

    sha256 = get_pretrained_cfg("ViT-B-16", "openai")["url"].split("/")[-2]
    assert len(sha256) == 64
    assert _by_hash(sha256)[0] is True
    plain = get_pretrained_cfg("ViT-B-16", "laion400m_e32")["url"].rsplit("-", 1)[1].removesuffix(".pt")
    assert _by_hash(plain + "0" * 56)[0] is False
    assert _by_hash("0" * 64) is None


def test_without_a_network_the_error_says_where_to_put_the_file(monkeypatch):
    def offline(_):
        raise OSError("no route to host.\nCheck your connection")

    monkeypatch.setattr(clip_weights, "download_pretrained", offline)
    with pytest.raises(InputError) as got:
        make_clip("ViT-B-32-quickgelu", "openai", image_size=(64, 32))
    text = str(got.value)
    assert "\n" not in text
    assert "no route to host. Check your connection" in text
    assert "ViT-B-32.pt, put the file anywhere on this machine, and give its path: --set model.pretrained=" in text


def save_encoder(folder, clip, pretrained, clip_sha256, **changes):
    tensors = {f"image_encoder.{name}": value for name, value in clip.image_encoder.state_dict().items()}
    config = {"model": {**clip.spec.to_dict(), **changes}, "clip_sha256": clip_sha256}
    record = json.dumps({"parameters": {"model": {"pretrained": pretrained}}})
    save_checkpoint(
        folder, "encoder", tensors | {"classifier.weight": torch.zeros(3)}, config, files={"record.json": record}
    )


@pytest.fixture
def trained(config, state, tmp_path):
    """An encoder checkpoint whose images are larger, and the CLIP that it was trained from."""
    torch.save(state, tmp_path / "clip.pt")
    start = make_clip(config, tmp_path / "clip.pt", image_size=(128, 64))
    encoder = make_clip(config, image_size=(128, 64), seed=9).freeze()
    save_encoder(tmp_path / "encoder", encoder, str(tmp_path / "clip.pt"), start.weights_sha256)
    return tmp_path / "encoder", encoder, start


@pytest.mark.parametrize("name", ["", "weights.safetensors"])
def test_an_encoder_of_ours_starts_a_training_with_the_text_encoder_of_its_clip(config, trained, name):
    folder, own, start = trained
    clip = load(config, folder / name, image_size=(128, 64))
    torch.testing.assert_close(clip.image_encoder(images((128, 64))), own.image_encoder(images((128, 64))))
    tokens = clip.tokenizer(["a person"])
    torch.testing.assert_close(
        clip.text_encoder.encode_tokens(tokens), start.freeze().text_encoder.encode_tokens(tokens)
    )
    assert "the image encoder of a checkpoint of ours, with the text encoder of" in clip.note
    alone = encoder(config, folder / name, image_size=(128, 64))
    assert clip.weights_sha256 == sha256_of_value({"image": alone.weights_sha256, "text": start.weights_sha256})


def test_an_encoder_of_an_encoder_keeps_the_first_text_encoder(config, trained, tmp_path):
    folder, _, start = trained
    second = load(config, folder, image_size=(128, 64))
    save_encoder(tmp_path / "next", second, str(folder), second.weights_sha256)
    third = load(config, tmp_path / "next", image_size=(128, 64))
    assert torch.equal(clip_state(third)["text.ln_final.weight"], clip_state(start)["text.ln_final.weight"])
    save_encoder(tmp_path / "ring", second, str(tmp_path / "ring"), second.weights_sha256)
    with pytest.raises(InputError, match="trained from itself"):
        load(config, tmp_path / "ring", image_size=(128, 64))


def test_an_encoder_without_its_text_encoder_starts_no_training(config, trained, tmp_path):
    folder, own, _ = trained
    (tmp_path / "clip.pt").unlink()
    with pytest.raises(InputError, match=r"needs the text encoder of the CLIP that it was trained from, .*clip\.pt: "):
        load(config, folder, image_size=(128, 64))
    torch.testing.assert_close(
        encoder(config, folder, image_size=(128, 64)).encoder(images((128, 64))), own.image_encoder(images((128, 64)))
    )
    other = make_clip(config, image_size=SIZE)
    torch.save({name.removeprefix("text."): value for name, value in clip_state(other).items()}, tmp_path / "clip.pt")
    with pytest.raises(InputError, match="but the weights there are others now"):
        load(config, folder, image_size=(128, 64))
    save_encoder(tmp_path / "random", own, None, "")
    with pytest.raises(InputError, match="no weights of the CLIP that it was trained from are recorded"):
        load(config, tmp_path / "random", image_size=(128, 64))


def test_an_encoder_of_another_model_or_size_is_refused(config, trained, tmp_path):
    folder, _, _ = trained
    with pytest.raises(InputError, match=r"holds a 8x4 position grid, model.image_size and model.stride make 4x2"):
        load(config, folder)
    with pytest.raises(InputError, match=r"trained with model\.pixel_mean = .*: set model\.pixel_mean to what"):
        load(config, folder, image_size=(128, 64), pixel_mean=(0.4, 0.4, 0.4))
    save_checkpoint(tmp_path / "prompts", "prompts", {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="a checkpoint of prompts, which has no encoder"):
        load(config, tmp_path / "prompts")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"the folder .*empty has no weights\.safetensors"):
        load(config, tmp_path / "empty")
