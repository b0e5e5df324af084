"""What reaches what: frozen texts in stage 2, no clothes images there, and neither mask nor text at test time."""

from collections import Counter

import numpy as np
import pytest
import torch
from clips import make_clip

from pipeline.features.extraction import encode_images
from pipeline.models.prompts import CLOTHES_TEMPLATE, IDENTITY_TEMPLATE, PromptLearner
from pipeline.shards.store import ImageStore
from pipeline.trainer.engine import Engine
from pipeline.training.batches import EncoderData
from pipeline.training.classes import clothes_of_identities
from pipeline.training.encoder_task import EncoderTask, train_encoder
from pipeline.training.methods import METHODS, term_weights
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import AllEncoderSettings, ViewSettings

HALF = (0.5, 0.5, 0.5)
SIZE = (64, 32)
IDENTITIES = np.repeat(np.arange(4), 4)
CLOTHES = np.arange(16) // 2
ROWS = np.arange(16)


class Photographs:
    """Sixteen random pictures with masks; counts what is asked for."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (16, *SIZE, 3), dtype=np.uint8)
        self.asked: Counter[str] = Counter()

    def image(self, index):
        self.asked["image"] += 1
        return self.images[index]

    def mask(self, index):
        self.asked["mask"] += 1
        return np.indices(SIZE)[0] > 30


class NoClothesStore(ImageStore):
    """A store in which nobody may ask for clothes images."""

    def clothes(self, indices):
        raise AssertionError("stage 2 asked for clothes images")

    def planes(self, views, indices):
        assert "clothes" not in views
        return super().planes(views, indices)


def make_prompts(clip, template: str, classes: int) -> PromptLearner:
    return PromptLearner(
        template,
        classes,
        2,
        tokenizer=clip.tokenizer,
        encoder=clip.text_encoder,
        context_length=clip.text_encoder.context_length,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize("method", METHODS)
def test_stage_2_leaves_prompts_and_text_encoder_alone_and_never_sees_clothes_images(tiny_clip_config, method):
    clip = make_clip(tiny_clip_config, image_size=SIZE)
    learners = make_prompts(clip, IDENTITY_TEMPLATE, 4), make_prompts(clip, CLOTHES_TEMPLATE, 8)
    frozen = [clip.text_encoder, *learners]
    before = [{key: value.clone() for key, value in module.state_dict().items()} for module in frozen]
    texts = [learner.encode_all(clip.text_encoder) for learner in learners]
    task = EncoderTask(
        clip.image_encoder,
        term_weights(method, AllEncoderSettings()),
        identities=4,
        seed=0,
        settings=AllEncoderSettings(),
        identity_texts=texts[0],
        clothes_texts=texts[1],
        identity_clothes=torch.from_numpy(clothes_of_identities(IDENTITIES, CLOTHES)),
        captions=dict.fromkeys(("identity", "clothes"), torch.randn(len(ROWS), 6)),
    )
    start = {name: value.clone() for name, value in task.state_dict().items()}
    copies = [None if buffer is None else buffer.clone() for buffer in (task.identity_texts, task.clothes_texts)]
    data = EncoderData(
        store=NoClothesStore(Photographs(), SIZE),
        rows=ROWS,
        identities=IDENTITIES,
        clothes_classes=CLOTHES,
        sampler=IdentitySampler(IDENTITIES, 2, 2, seed=0),
        mean=HALF,
        std=HALF,
        views=ViewSettings(pad=2),
        shielding=task.uses_shielding_images,
    )
    train_encoder(task, data, AllEncoderSettings(epochs=1, learning_rate=1e-3), Engine(quiet=True))
    for module, state in zip(frozen, before, strict=True):
        for key, value in module.state_dict().items():
            assert torch.equal(value, state[key]), key
    for buffer, copy in zip((task.identity_texts, task.clothes_texts), copies, strict=True):
        assert (buffer is None) == (copy is None)
        assert buffer is None or torch.equal(buffer, copy)
    assert not any("text" in name or "prompt" in name for name, _ in task.named_parameters())
    moved = {name for name, value in task.state_dict().items() if not torch.equal(value, start[name])}
    assert "image_encoder.tower.conv1.weight" in moved  # what was frozen for stage 1 does train


def count_calls(module: torch.nn.Module, run) -> Counter[str]:
    """How often each module without parts of its own is called while ``run`` runs."""
    calls: Counter[str] = Counter()
    hooks = [
        part.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, part in module.named_modules()
        if not list(part.children())
    ]  # fmt: skip
    run()
    for hook in hooks:
        hook.remove()
    return calls


def test_inference_reads_no_mask_and_calls_what_the_bare_tower_calls(tiny_clip_config):
    clip = make_clip(tiny_clip_config, image_size=SIZE).freeze()
    source = Photographs()
    store = ImageStore(source, SIZE)
    encoder, tower = clip.image_encoder, clip.image_encoder.tower

    def extract():
        return encode_images(
            encoder, store.raw, ROWS.tolist(), lambda f: encoder.compared(f, "concat"), mean=HALF, std=HALF, quiet=True
        )

    both = torch.nn.ModuleDict({"image": tower, "text": clip.text_encoder})
    ours = count_calls(both, extract)
    bare = count_calls(both, lambda: tower(torch.zeros(16, 3, *SIZE)))
    assert ours == bare
    assert not any(name.startswith("text") for name in ours)
    assert max(bare.values()) == 1
    assert source.asked["mask"] == 0
    assert sum(p.numel() for p in encoder.parameters()) == sum(p.numel() for p in tower.parameters())


def test_flip_averaging_is_of_the_features_of_both_images(tiny_clip_config):
    clip = make_clip(tiny_clip_config, image_size=SIZE).freeze()
    store = ImageStore(Photographs(), SIZE)

    def extract(load, **settings):
        return encode_images(
            clip.image_encoder, load, [0, 1, 2], lambda f: f.hidden, mean=HALF, std=HALF, quiet=True, **settings
        )

    plain = extract(store.raw)
    mirrored = extract(lambda rows: store.raw(rows).flip(2))
    torch.testing.assert_close(extract(store.raw, flip=True), (plain + mirrored) / 2)
