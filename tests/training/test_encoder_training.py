"""Stage 2: which loss moves what, what stays frozen, and that the encoder does train."""

from copy import deepcopy
from dataclasses import fields

import numpy as np
import pytest
import torch

from pipeline.errors import WorkError
from pipeline.models.clip import load_clip
from pipeline.training.batches import EncoderBatch, EncoderData
from pipeline.training.classes import NO_CLASS
from pipeline.training.encoder import EncoderFeatures, EncoderTask, labels_of, make_optimizer, train_encoder
from pipeline.training.sampler import IdentitySampler
from pipeline.training.store import ImageStore

HALF = (0.5, 0.5, 0.5)
IDENTITIES = np.repeat(np.arange(4), 4)
CLOTHES = np.where(np.arange(16) % 4 == 3, NO_CLASS, np.arange(16) // 2)


def make_task(config, clothes: bool = True, **settings) -> EncoderTask:
    clip = load_clip(str(config), image_size=(64, 32))
    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(12, 24, generator=generator)
    return EncoderTask(
        clip.image_encoder,
        deepcopy(clip.image_encoder),
        texts[:4],
        texts[4:] if clothes else None,
        generator=generator,
        **settings,
    )


def make_batch() -> EncoderBatch:
    generator = torch.Generator().manual_seed(1)
    return EncoderBatch(
        torch.randn(16, 3, 64, 32, generator=generator),
        torch.randn(16, 3, 64, 32, generator=generator),
        torch.from_numpy(IDENTITIES),
        torch.from_numpy(CLOTHES),
        torch.from_numpy(IDENTITIES % 2),
    )


def moved_parts(task: EncoderTask, loss: torch.Tensor) -> set[str]:
    task.zero_grad()
    loss.backward(retain_graph=True)
    return {
        name.split(".")[0]
        for name, parameter in task.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


def test_each_loss_moves_its_own_parts_only(tiny_clip_config):
    task = make_task(tiny_clip_config)
    losses = task(make_batch())
    assert {name: moved_parts(task, loss) for name, loss in losses.items()} == {
        "identity": {"image_encoder", "raw_heads"},
        "i2t": {"image_encoder"},
        "identity_shielding": {"shielding_encoder", "shielding_heads"},
        "i2t_shielding": {"shielding_encoder"},
        "centre": {"image_encoder", "shielding_encoder"},
        "i2t_clothes": {"clothes_projection"},
        "disentangle": {"image_encoder"},
    }


def test_images_without_a_clothes_class_do_not_enter_the_clothes_losses(tiny_clip_config):
    task = make_task(tiny_clip_config).eval()
    batch = make_batch()
    losses = task(batch)
    features = task.image_encoder(batch.raw).projected
    dressed = batch.clothes_classes != NO_CLASS
    clothes = features[dressed] @ task.clothes_projection.weight
    logits = clothes @ task.clothes_texts.T
    expected = torch.nn.functional.cross_entropy(logits, batch.clothes_classes[dressed], label_smoothing=0.1)
    torch.testing.assert_close(losses["i2t_clothes"], expected)
    cosine = torch.nn.functional.cosine_similarity(features[dressed], clothes)
    torch.testing.assert_close(losses["disentangle"], cosine.pow(2).mean())


def test_without_clothes_prompts_clothes_feature_minimisation_is_off(tiny_clip_config):
    task = make_task(tiny_clip_config, clothes=False)
    assert set(task(make_batch())) == {"identity", "i2t", "identity_shielding", "i2t_shielding", "centre"}
    assert not any("clothes" in name for name, _ in task.named_parameters())


def test_biases_have_twice_the_rate_and_heads_their_factor(tiny_clip_config):
    task = make_task(tiny_clip_config)
    factors = {}
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    for group in make_optimizer(task, 1.0, 0.0, head_factor=5.0).param_groups:
        factors[names[id(group["params"][0])]] = group["rate_factor"]
    assert factors["image_encoder.tower.proj"] == 1.0
    assert factors["image_encoder.tower.ln_post.bias"] == 2.0
    assert factors["clothes_projection.weight"] == 5.0
    assert factors["raw_heads.hidden.classifier.weight"] == 5.0
    assert "raw_heads.hidden.neck.bias" not in factors  # BNNeck: the shift stays zero


class Pictures:
    """Sixteen random pictures of another size than the model's."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (16, 70, 30, 3), dtype=np.uint8)

    def image(self, index):
        return self.images[index]

    def mask(self, index):
        mask = np.zeros((70, 30), dtype=bool)
        mask[20:50, 5 + index % 3 : 25] = True
        return mask


def make_data(**settings) -> EncoderData:
    return EncoderData(
        store=ImageStore(Pictures(), (64, 32)),
        rows=np.arange(16),
        identities=IDENTITIES,
        clothes_classes=CLOTHES,
        sampler=IdentitySampler(IDENTITIES, 2, 2, seed=0),
        mean=HALF,
        std=HALF,
        pad=2,
        **settings,
    )


def test_training_changes_both_encoders_and_no_text(tiny_clip_config):
    task = make_task(tiny_clip_config)
    before = deepcopy(task.state_dict())
    texts = task.identity_texts.clone(), task.clothes_texts.clone()
    curves = train_encoder(task, make_data(), epochs=6, learning_rate=3e-4, quiet=True)
    assert curves[-1]["identity"] < curves[0]["identity"]
    for part in (
        "image_encoder.tower.conv1.weight",
        "shielding_encoder.tower.conv1.weight",
        "clothes_projection.weight",
    ):
        assert not torch.equal(task.state_dict()[part], before[part]), part
    assert torch.equal(task.identity_texts, texts[0])
    assert torch.equal(task.clothes_texts, texts[1])


def test_equal_seeds_give_equal_bits(tiny_clip_config):
    states = []
    for _ in range(2):
        task = make_task(tiny_clip_config)
        train_encoder(task, make_data(), epochs=2, learning_rate=3e-4, quiet=True)
        states.append(task.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_loss_that_is_not_finite_stops_the_run(tiny_clip_config):
    task = make_task(tiny_clip_config)
    with torch.no_grad():
        task.raw_heads.hidden.classifier.weight.fill_(float("nan"))
    with pytest.raises(WorkError, match=r"not finite at epoch 0, step 0 \(identity nan"):
        train_encoder(task, make_data(), epochs=1, quiet=True)


def test_features_of_parts_of_a_batch_give_the_losses_of_the_whole_batch(tiny_clip_config):
    task = make_task(tiny_clip_config)
    batch = make_batch()
    expected = task(batch)
    parts = [
        task.encode(EncoderBatch(*(getattr(batch, field.name)[rows] for field in fields(batch))))
        for rows in (slice(0, 5), slice(5, 16))
    ]
    whole = EncoderFeatures(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(EncoderFeatures)))
    losses = task.losses(whole, labels_of(batch))
    assert set(losses) == set(task.loss_weights)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])
