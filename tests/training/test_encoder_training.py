"""Stage 2: which loss moves what, what stays frozen, and that the encoder does train."""

from copy import deepcopy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from clips import make_clip

from pipeline.errors import InputError, WorkError
from pipeline.losses.identity import identity_loss
from pipeline.losses.registry import TERMS
from pipeline.shards.store import ImageStore
from pipeline.trainer.engine import Engine
from pipeline.trainer.gradients import weighted_sum
from pipeline.trainer.loop import train
from pipeline.trainer.task import Epoch, Plan
from pipeline.training.batches import EncoderBatch, EncoderData
from pipeline.training.classes import NO_CLASS, clothes_of_identities
from pipeline.training.encoder_task import EncoderFeatures, EncoderTask, make_optimizer, train_encoder
from pipeline.training.methods import METHODS, term_weights
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import AllEncoderSettings, ViewSettings

HALF = (0.5, 0.5, 0.5)
QUIET = Engine(quiet=True)
SETTINGS = ("alternate", "start_epochs", "identity_features")
IDENTITIES = np.repeat(np.arange(4), 4)
CLOTHES = np.where(np.arange(16) % 4 == 3, NO_CLASS, np.arange(16) // 2)


def make_task(config, method: str = "ccaf", **settings) -> EncoderTask:
    """A task of the method on a tiny CLIP: 4 identities, 8 clothes classes."""
    clip = make_clip(config, image_size=(64, 32))
    texts = torch.randn(12, 24, generator=torch.Generator().manual_seed(0))
    chosen = AllEncoderSettings(**{name: settings.pop(name) for name in SETTINGS if name in settings})
    weights = settings.pop("weights", None) or term_weights(method, chosen)
    given = {
        "settings": chosen,
        "identities": 4,
        "seed": 0,
        "identity_texts": texts[:4],
        "clothes_texts": texts[4:],
        "identity_clothes": torch.from_numpy(clothes_of_identities(IDENTITIES, CLOTHES)),
        "captions": {
            about: torch.randn(16, width, generator=torch.Generator().manual_seed(2))
            for about, width in (("identity", 7), ("clothes", 5))
        },
    }
    return EncoderTask(clip.image_encoder, weights, **(given | settings))


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
        name.removeprefix("parts.").split(".")[0]
        for name, parameter in task.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


ENCODERS = {"image_encoder", "shielding_encoder"}
MOVED = {
    "identity": {"image_encoder", "raw_heads"},
    "i2t": {"image_encoder"},
    "identity_shielding": {"shielding_encoder", "shielding_heads"},
    "i2t_shielding": {"shielding_encoder"},
    "centre": ENCODERS,
    "i2t_clothes": {"clothes_projection"},
    "disentangle": {"image_encoder"},
    "onehot_clothes": {"clothes_projection", "clothes_classifier"},
    "cal_classifier": {"cal_classifier"},
    "cal_adversarial": {"image_encoder"},
    "target_alignment": {"image_encoder"},
    "clothes_uniform": {"image_encoder"},
    "clothes_uniform_own": {"image_encoder"},
    "caption_align": {"image_encoder", "identity_caption_projection"},
    "caption_examine": {"clothes_caption_projection"},
    "caption_orthogonal": {"image_encoder"},
}


def test_each_term_moves_its_own_parts_only(tiny_clip_config):
    task = make_task(tiny_clip_config, weights=dict.fromkeys(TERMS, 1.0))
    if "onehot_clothes" in task.terms:  # a classifier that starts near zero hardly moves Proj_c
        with torch.no_grad():
            task.parts["clothes_classifier"].weight.mul_(1000)
    losses = task(make_batch())
    assert {name: moved_parts(task, loss) for name, loss in losses.items()} == MOVED
    for name, term in TERMS.items():
        assert term.examines == (not MOVED[name] & ENCODERS), name


PAPER = ("identity", "i2t", "identity_shielding", "i2t_shielding", "centre")


@pytest.mark.parametrize(("method", "terms", "parts"), [
    ("baseline", ("identity",), ("raw_heads",)),
    (
        "captions",
        ("identity", "caption_align", "caption_examine", "caption_orthogonal"),
        ("raw_heads", "identity_caption_projection", "clothes_caption_projection"),
    ),
    ("clip-reid", ("identity", "i2t"), ("raw_heads",)),
    ("i2t", ("identity", "i2t"), ("raw_heads",)),
    ("i2t+i2i", PAPER, ("raw_heads", "shielding_heads")),
    ("ccaf", (*PAPER, "i2t_clothes", "disentangle"), ("raw_heads", "shielding_heads", "clothes_projection")),
    (
        "ccaf-onehot",
        (*PAPER, "onehot_clothes", "disentangle"),
        ("raw_heads", "shielding_heads", "clothes_projection", "clothes_classifier"),
    ),
    (
        "ccaf-onehot-no-shielding-i2t",
        ("identity", "i2t", "identity_shielding", "centre", "onehot_clothes", "disentangle"),
        ("raw_heads", "shielding_heads", "clothes_projection", "clothes_classifier"),
    ),
    (
        "ccaf-onehot-no-i2t",
        ("identity", "identity_shielding", "centre", "onehot_clothes", "disentangle"),
        ("raw_heads", "shielding_heads", "clothes_projection", "clothes_classifier"),
    ),
    ("cal", ("identity", "cal_classifier", "cal_adversarial"), ("raw_heads", "cal_classifier")),
    ("ccaf-plus", ("identity", "i2t", "target_alignment", "clothes_uniform_own"), ("raw_heads",)),
])  # fmt: skip
def test_a_method_is_its_terms_and_makes_what_they_need_and_no_more(tiny_clip_config, method, terms, parts):
    task = make_task(tiny_clip_config, method)
    assert set(task(make_batch())) == set(task.terms) == set(terms)
    assert set(task.parts) == set(parts)
    shielded = bool(set(terms) & {"identity_shielding", "i2t_shielding", "centre"})
    assert (task.shielding_encoder is not None) == shielded
    assert task.uses_shielding_images == (shielded or "target_alignment" in terms)
    assert (task.identity_texts is not None) == ("i2t" in terms)
    assert (task.clothes_texts is not None) == bool(set(terms) & {"i2t_clothes", "clothes_uniform_own"})


def test_every_method_of_the_table_is_tested_above():
    cases = test_a_method_is_its_terms_and_makes_what_they_need_and_no_more.pytestmark[0].args[1]
    assert {case[0] for case in cases} == set(METHODS)


def test_a_part_starts_equal_in_every_method(tiny_clip_config):
    one = make_task(tiny_clip_config, "ccaf").parts
    for method in ("baseline", "ccaf-onehot"):
        other = make_task(tiny_clip_config, method).parts
        for name in set(one) & set(other):
            for key, value in one[name].state_dict().items():
                assert torch.equal(value, other[name].state_dict()[key]), (method, name, key)


def test_weights_of_parameters_and_overrides():
    given = AllEncoderSettings(lambda_con=0.4, lambda_dis=1.4)
    assert term_weights("ccaf", given)["centre"] == 0.4
    assert term_weights("ccaf", given)["disentangle"] == 1.4
    changed = term_weights("i2t", given, {"i2t": 0.0, "clothes_uniform": 0.5})
    assert changed == {"identity": 1.0, "clothes_uniform": 0.5}
    assert "disentangle" not in term_weights("ccaf", AllEncoderSettings(lambda_dis=0.0))


def test_a_term_that_does_not_exist_is_refused_with_the_names(tiny_clip_config):
    with pytest.raises(InputError, match="centr is not a term; terms are: identity, identity_shielding, i2t"):
        make_task(tiny_clip_config, weights={"identity": 1.0, "centr": 1.0})


def test_a_term_without_what_it_needs_is_refused(tiny_clip_config):
    with pytest.raises(ValueError, match="the terms need clothes_texts"):
        make_task(tiny_clip_config, "ccaf", clothes_texts=None)


def test_images_without_a_clothes_class_do_not_enter_the_clothes_losses(tiny_clip_config):
    task = make_task(tiny_clip_config).eval()
    batch = make_batch()
    losses = task(batch)
    features = task.image_encoder(batch.raw).projected
    dressed = batch.clothes_classes != NO_CLASS
    clothes = features[dressed] @ task.parts["clothes_projection"].weight
    logits = clothes @ task.clothes_texts.T
    expected = torch.nn.functional.cross_entropy(logits, batch.clothes_classes[dressed], label_smoothing=0.1)
    torch.testing.assert_close(losses["i2t_clothes"], expected)
    cosine = torch.nn.functional.cosine_similarity(features[dressed], clothes)
    torch.testing.assert_close(losses["disentangle"], cosine.pow(2).mean())


def test_a_batch_without_any_clothes_class_has_no_clothes_terms(tiny_clip_config):
    bare = replace(make_batch(), clothes_classes=torch.full((16,), NO_CLASS))
    assert set(make_task(tiny_clip_config)(bare)) == set(PAPER)


def test_projected_features_only_under_the_identity_loss(tiny_clip_config):
    task = make_task(tiny_clip_config, "baseline", identity_features="projected")
    assert not any(name.startswith("parts.raw_heads.hidden") for name, _ in task.named_parameters())
    batch = make_batch()
    features = task.image_encoder(batch.raw).projected
    logits = task.parts["raw_heads"](features, features)
    expected = identity_loss(logits, [features], batch.identities)
    torch.testing.assert_close(task(batch)["identity"], expected)


def test_cached_targets_are_looked_up_and_computed_ones_are_the_frozen_encoders(tiny_clip_config):
    table = torch.randn(40, 24, generator=torch.Generator().manual_seed(5))
    rows = torch.arange(16) * 2
    batch = replace(make_batch(), rows=rows)
    cached = make_task(tiny_clip_config, "ccaf-plus", targets=table)
    assert torch.equal(cached.encode(batch).target, table[rows])
    assert not cached.uses_shielding_images
    computed = make_task(tiny_clip_config, "ccaf-plus")
    with torch.no_grad():
        expected = computed.image_encoder.eval()(batch.shielding).joined
        for parameter in computed.image_encoder.parameters():
            parameter.add_(1.0)  # training E_v must not move the frozen copy
    torch.testing.assert_close(computed.train().encode(batch).target, expected)
    assert not any("frozen" in name for name in computed.state_dict())


def test_alignment_is_of_both_features_that_retrieval_compares(tiny_clip_config):
    table = torch.randn(40, 32 + 24, generator=torch.Generator().manual_seed(5))
    task = make_task(tiny_clip_config, "ccaf-plus", targets=table).eval()
    batch = replace(make_batch(), rows=torch.arange(16))
    with torch.no_grad():
        raw = task.image_encoder(batch.raw)
    assert raw.joined.shape == (16, 56)
    total = 0.0
    for feature, target in ((raw.hidden, table[:16, :32]), (raw.projected, table[:16, 32:])):
        for f, t in zip(feature, target, strict=True):
            total += 1 - float(f @ t / f.norm() / t.norm())
    assert task(batch)["target_alignment"].item() == pytest.approx(total / 32, abs=1e-5)


def test_the_frozen_copy_goes_where_the_task_goes(tiny_clip_config):
    task = make_task(tiny_clip_config, "ccaf-plus").double()
    batch = make_batch()
    doubled = replace(batch, raw=batch.raw.double(), shielding=batch.shielding.double())
    assert task.encode(doubled).target.dtype == torch.float64


def test_alternation_takes_n_examine_steps_then_m_others(tiny_clip_config):
    task = make_task(tiny_clip_config, "ccaf", alternate=(2, 1))
    others = set(task.terms) - {"i2t_clothes"}
    entering = [set(task.loss_weights_at(0, step)) for step in range(6)]
    assert entering == [{"i2t_clothes"}, {"i2t_clothes"}, others] * 2
    assert set(make_task(tiny_clip_config, "ccaf").loss_weights_at(0, 1)) == set(task.terms)


def test_a_term_enters_the_sum_in_its_start_epoch(tiny_clip_config):
    late = {"cal_classifier": 1, "cal_adversarial": 2}
    task = make_task(tiny_clip_config, "cal", start_epochs=late)
    entering = [set(task.loss_weights_at(epoch, 3)) for epoch in range(3)]
    assert entering == [{"identity"}, {"identity", "cal_classifier"}, {"identity", "cal_classifier", "cal_adversarial"}]
    both = make_task(tiny_clip_config, "cal", start_epochs=late, alternate=(1, 1))
    assert [set(both.loss_weights_at(1, step)) for step in range(2)] == [{"cal_classifier"}, {"identity"}]
    assert set(both.loss_weights_at(0, 0)) == set()


def test_alternation_without_an_examining_term_is_refused(tiny_clip_config):
    with pytest.raises(InputError, match="no term of the method examines"):
        make_task(tiny_clip_config, "i2t+i2i", alternate=(1, 1))


def test_one_examine_step_leaves_everything_but_proj_c_bit_identical(tiny_clip_config):
    task = make_task(tiny_clip_config, "ccaf", alternate=(1, 1))
    before = deepcopy(task.state_dict())
    plan = Plan(
        what="t",
        epochs=1,
        epoch_of=lambda _number, _start: Epoch(1, iter([make_batch()])),
        rate_at=lambda _position: 1e-3,
        weigh=lambda epoch, step, losses: weighted_sum(losses, task.loss_weights_at(epoch, step)),
    )
    train(task, make_optimizer(task, AllEncoderSettings(learning_rate=1e-3)), plan, QUIET)
    changed = {key for key, value in task.state_dict().items() if not torch.equal(value, before[key])}
    statistics = {key for key in changed if "running_" in key or "num_batches" in key}  # batch norm saw the batch
    assert changed - statistics == {"parts.clothes_projection.weight"}


def test_biases_have_twice_the_rate_and_heads_their_factor(tiny_clip_config):
    task = make_task(tiny_clip_config)
    factors = {}
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    for group in make_optimizer(
        task, AllEncoderSettings(learning_rate=1.0, weight_decay=0.0, head_factor=5.0)
    ).param_groups:
        factors |= {names[id(parameter)]: group["rate_factor"] for parameter in group["params"]}
    assert factors["image_encoder.tower.proj"] == 1.0
    assert factors["image_encoder.tower.ln_post.bias"] == 2.0
    assert factors["image_encoder.tower.transformer.resblocks.0.attn.in_proj_bias"] == 2.0
    assert factors["parts.clothes_projection.weight"] == 5.0
    assert factors["parts.raw_heads.hidden.classifier.weight"] == 5.0
    assert "parts.raw_heads.hidden.neck.bias" not in factors  # BNNeck: the shift stays zero


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
        views=ViewSettings(pad=2),
        **settings,
    )


def test_training_changes_both_encoders_and_no_text(tiny_clip_config):
    task = make_task(tiny_clip_config)
    before = deepcopy(task.state_dict())
    texts = task.identity_texts.clone(), task.clothes_texts.clone()
    curves = train_encoder(task, make_data(), AllEncoderSettings(epochs=6, learning_rate=3e-4), QUIET).curves
    assert curves[-1]["identity"] < curves[0]["identity"]
    for part in (
        "image_encoder.tower.conv1.weight",
        "shielding_encoder.tower.conv1.weight",
        "parts.clothes_projection.weight",
    ):
        assert not torch.equal(task.state_dict()[part], before[part]), part
    assert torch.equal(task.identity_texts, texts[0])
    assert torch.equal(task.clothes_texts, texts[1])


def test_equal_seeds_give_equal_bits(tiny_clip_config):
    states = []
    for _ in range(2):
        task = make_task(tiny_clip_config)
        train_encoder(task, make_data(), AllEncoderSettings(epochs=2, learning_rate=3e-4), QUIET)
        states.append(task.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_loss_that_is_not_finite_stops_the_run(tiny_clip_config):
    task = make_task(tiny_clip_config)
    with torch.no_grad():
        task.parts["raw_heads"].hidden.classifier.weight.fill_(float("nan"))
    with pytest.raises(WorkError, match=r"not finite at epoch 0, step 0 \(identity nan"):
        train_encoder(task, make_data(), AllEncoderSettings(epochs=1), QUIET)


def test_features_of_parts_of_a_batch_give_the_losses_of_the_whole_batch(tiny_clip_config):
    task = make_task(tiny_clip_config, weights=dict.fromkeys(TERMS, 1.0))
    batch = make_batch()
    expected = task(batch)
    parts = [
        task.encode(replace(batch, raw=batch.raw[rows], shielding=batch.shielding[rows], rows=batch.rows[rows]))
        for rows in (slice(0, 5), slice(5, 16))
    ]
    whole = EncoderFeatures(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(EncoderFeatures)))
    losses = task.losses(whole, task.labels(batch))
    assert set(losses) == set(task.loss_weights)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])
