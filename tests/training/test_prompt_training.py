"""Stage 1: what it computes, what it moves, and that it goes on where it stopped."""

import numpy as np
import pytest
import torch
from clips import make_clip
from open_clip.transformer import TextTransformer
from torch._subclasses.fake_tensor import FakeTensorMode

from pipeline.losses.supervised_contrastive import supervised_contrastive
from pipeline.models.prompts import CLOTHES_TEMPLATE, IDENTITY_TEMPLATE, PromptLearner
from pipeline.models.text_encoder import TextEncoder
from pipeline.models.tokens import Sentence
from pipeline.precision import Precision
from pipeline.trainer.engine import Engine
from pipeline.trainer.gradients import GradientMaker
from pipeline.trainer.states import ResumeSettings
from pipeline.training.classes import NO_CLASS
from pipeline.training.prompt_task import PromptBatch, PromptData, PromptTask, train_prompts
from pipeline.training.settings import PromptSettings

IDENTITIES = np.repeat(np.arange(4), 5)
CLOTHES = np.where(np.arange(20) % 5 == 0, NO_CLASS, np.arange(20) // 5 * 2 + np.arange(20) % 2)

QUIET = Engine(quiet=True)


@pytest.fixture(scope="module")
def clip(tiny_clip_config):
    return make_clip(tiny_clip_config, image_size=(64, 32)).freeze()


def make_task(clip, with_clothes: bool = True) -> PromptTask:
    generator = torch.Generator().manual_seed(0)

    def learner(template, classes):
        return PromptLearner(
            template,
            classes,
            2,
            tokenizer=clip.tokenizer,
            encoder=clip.text_encoder,
            context_length=24,
            generator=generator,
        )

    return PromptTask(
        learner(IDENTITY_TEMPLATE, 4), learner(CLOTHES_TEMPLATE, 8) if with_clothes else None, clip.text_encoder
    )


def make_data() -> PromptData:
    generator = torch.Generator().manual_seed(1)
    return PromptData(
        torch.randn(20, 24, generator=generator), torch.randn(20, 24, generator=generator), IDENTITIES, CLOTHES
    )


def test_an_epoch_uses_every_image_once_and_only_dressed_images_for_clothes():
    data = make_data()
    epoch = data.epoch(3, batch_size=6, seed=0)
    batches = list(epoch.batches)
    assert epoch.steps == len(batches) == 4
    assert [len(batch.identities) for batch in batches] == [6, 6, 6, 2]
    seen = torch.cat([batch.images for batch in batches])
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, data.images.tolist()))
    assert sum(len(batch.clothes) for batch in batches) == (CLOTHES != NO_CLASS).sum()


def test_losses_pair_every_image_with_its_own_text(clip):
    task = make_task(clip)
    data = make_data()
    labels = torch.tensor([2, 0, 2])
    batch = PromptBatch(data.images[:3], labels, data.clothes[:2], torch.tensor([5, 1]))
    losses = task(batch)
    texts = torch.cat([task.identity.encode(clip.text_encoder, label[None]) for label in labels])
    assert losses["i2t"].item() == pytest.approx(
        supervised_contrastive(batch.images, texts, labels, labels).item(), abs=1e-5
    )
    assert losses["t2i"].item() == pytest.approx(
        supervised_contrastive(texts, batch.images, labels, labels).item(), abs=1e-5
    )
    assert set(losses) == {"i2t", "t2i", "i2t_clothes", "t2i_clothes"}


def test_in_a_short_type_the_text_encoder_is_short_and_the_losses_are_long(clip):
    """Expected: losses in float64 of the texts that the text encoder makes in bfloat16."""
    task, data = make_task(clip), make_data()
    labels = torch.arange(12) % 4
    batch = PromptBatch(4 * data.images[:12], labels, data.clothes[:2], torch.tensor([5, 1]))
    with torch.autocast("cpu", torch.bfloat16):
        texts = task.identity.encode(clip.text_encoder, torch.arange(4))
    assert texts.dtype == torch.bfloat16
    texts, images = texts.double()[labels], batch.images.double()
    losses, _ = GradientMaker(task, Precision("bf16", "cpu")).losses(batch)
    assert losses["i2t"].dtype == torch.float32
    for name, pair in {"i2t": (images, texts), "t2i": (texts, images)}.items():
        assert losses[name].item() == pytest.approx(supervised_contrastive(*pair, labels, labels).item(), rel=1e-6)


def test_prompts_are_made_where_the_text_encoder_is(clip, monkeypatch):
    words = torch.ones(5, dtype=torch.int64)
    monkeypatch.setattr("pipeline.models.prompts.split_sentence", lambda *_: Sentence(words, words, 0))
    with FakeTensorMode(allow_non_fake_inputs=True):  # a pretended GPU, which refuses operands of two devices
        with torch.device("cuda"):
            tower = TextTransformer(context_length=24, vocab_size=49408, width=16, heads=2, layers=1, output_dim=24)
        encoder = TextEncoder(tower)
        learner = PromptLearner(
            IDENTITY_TEMPLATE, 4, 2, tokenizer=clip.tokenizer, encoder=encoder, context_length=24,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        assert learner.prefix.device.type == learner.suffix.device.type == "cuda"
        learner.context = torch.nn.Parameter(learner.context.detach().to("cuda"))
        assert learner.encode(encoder, torch.tensor([2, 0]).to("cuda")).device.type == "cuda"


def test_training_lowers_the_loss_and_leaves_the_text_encoder_alone(clip):
    before = {key: value.clone() for key, value in clip.text_encoder.state_dict().items()}
    settings = PromptSettings(epochs=15, batch_size=8, learning_rate=0.05, warmup_epochs=1)
    curves = train_prompts(make_task(clip), make_data(), settings, 0, QUIET).curves
    assert curves[-1]["total"] < 0.8 * curves[0]["total"]
    assert all(torch.equal(value, before[key]) for key, value in clip.text_encoder.state_dict().items())


def test_without_clothes_classes_only_identity_prompts_are_learned(clip):
    curves = train_prompts(
        make_task(clip, with_clothes=False), make_data(), PromptSettings(epochs=1, batch_size=8), 0, QUIET
    ).curves
    assert set(curves[0]) >= {"i2t", "t2i"}
    assert "i2t_clothes" not in curves[0]


class InterruptedRunError(Exception):
    """Stands for a kill at an epoch boundary."""


def test_an_interrupted_run_ends_with_the_same_bits(clip, tmp_path):
    settings = PromptSettings(epochs=6, batch_size=8, learning_rate=0.02)
    whole = make_task(clip)
    expected = train_prompts(whole, make_data(), settings, 0, QUIET).curves
    resume = ResumeSettings(tmp_path / "partial", "fingerprint", seconds=0.0)

    broken_data = make_data()
    original = PromptData.epoch

    class Breaking(PromptData):
        def epoch(self, number, batch_size, seed):
            if number == 3:
                raise InterruptedRunError
            return original(self, number, batch_size, seed)

    broken = Breaking(broken_data.images, broken_data.clothes, IDENTITIES, CLOTHES)
    with pytest.raises(InterruptedRunError):
        train_prompts(make_task(clip), broken, settings, 0, Engine(quiet=True, resume=resume))
    again = make_task(clip)
    curves = train_prompts(again, make_data(), settings, 0, Engine(quiet=True, resume=resume)).curves
    for key, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert [row["total"] for row in curves] == [row["total"] for row in expected]
