"""CLIP pre-training: losses against naive loops, batches, grey boxes, and that person factors are really learned."""

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from clips import make_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.datasets.walkers.writer import PRETRAIN_NAME, render_pretraining
from pipeline.errors import InputError
from pipeline.models.clip import Clip, clip_state
from pipeline.trainer.states import ResumeSettings
from pipeline.training.pretrain_data import (
    CAPTION_KINDS,
    CaptionedImages,
    FactorPhrases,
    PretrainBatch,
    PretrainBatches,
    cover_with_boxes,
    read_captioned_images,
)
from pipeline.training.pretrain_task import PretrainTask, pretrain, spread_phrases, zero_shot_accuracy
from pipeline.training.settings import PretrainSettings

HALF = (0.5, 0.5, 0.5)
SIZE = (64, 32)


@pytest.fixture
def clip(tiny_clip_config: Path) -> Clip:
    return make_clip(tiny_clip_config, stem="conv", image_size=SIZE, seed=1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pretrain"
    render_pretraining(folder, SynthSettings(height=64, pretrain_images=24), seed=1)
    return folder


def coloured_images(count: int) -> CaptionedImages:
    """The upper half's colour is the person's factor, the lower half's the clothes'."""
    generator = np.random.default_rng(0)
    values = generator.integers(2, size=(count, 2))
    images = generator.integers(100, 156, size=(count, *SIZE, 3)).astype(np.uint8)
    for image, (person, clothes) in zip(images, values, strict=True):
        image[: SIZE[0] // 2, :, int(person)] = 230
        image[SIZE[0] // 2 :, :, int(clothes)] = 20
    factors = (
        FactorPhrases("hair", False, ("red hair.", "green hair.")),
        FactorPhrases("coat", True, ("a light coat.", "a dark coat.")),
    )
    texts = [(factors[0].phrases[a], factors[1].phrases[b]) for a, b in values]
    captions = {
        "caption_identity": [a for a, _ in texts],
        "caption_clothes": [b for _, b in texts],
        "caption_full": [f"{a} {b}" for a, b in texts],
    }
    return CaptionedImages(torch.from_numpy(images), factors, torch.from_numpy(values), captions)


def make_batches(data: CaptionedImages, batch_size: int = 16, caption_every: int = 2) -> PretrainBatches:
    settings = PretrainSettings(batch_size=batch_size, caption_every=caption_every)
    return PretrainBatches(data, settings, mean=HALF, std=HALF, seed=5, pad=2)


def test_losses_agree_with_naive_loops(clip: Clip) -> None:
    data = coloured_images(6)
    task = PretrainTask(clip, data.factors).eval()
    values = data.values.clone()
    values[2, 0] = -1
    captions = data.captions["caption_full"]
    images = torch.randn(6, 3, *SIZE)
    losses = task(PretrainBatch(images, values, captions))
    with torch.no_grad():
        plain = clip.image_encoder(images).projected
        features = F.normalize(plain, dim=1)
        scale = math.exp(float(clip.logit_scale))

        def text(sentence: str) -> torch.Tensor:
            return F.normalize(clip.text_encoder.encode_tokens(clip.tokenizer([sentence]))[0], dim=0)

        for column, name in ((0, "person"), (1, "clothes")):
            terms = []
            for row in range(6):
                value = int(values[row, column])
                if value < 0:
                    continue
                scores = [math.exp(float(plain[row] @ text(p))) for p in data.factors[column].phrases]
                terms.append(-math.log(scores[value] / sum(scores)))
            assert losses[name].item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)
        similarity = [[math.exp(scale * float(image @ text(caption))) for caption in captions] for image in features]
        terms = []
        for a in range(6):
            for positive in (b for b in range(6) if captions[b] == captions[a]):
                count = captions.count(captions[a])
                terms.append(-math.log(similarity[a][positive] / sum(similarity[a])) / count)
                column_sum = sum(similarity[row][a] for row in range(6))
                terms.append(-math.log(similarity[positive][a] / column_sum) / count)
    assert losses["caption"].item() == pytest.approx(sum(terms) / 12, rel=1e-4)


def test_phrases_are_spread_before_any_image_is_seen(clip: Clip) -> None:
    task = PretrainTask(clip, coloured_images(4).factors)

    def nearest() -> float:
        phrases = task.phrase_features().detach()
        return float((phrases @ phrases.T - 2 * torch.eye(len(phrases))).max())

    image_before = clip.image_encoder.tower.proj.clone()
    before = nearest()
    spread_phrases(task)
    assert before > 0.8
    assert nearest() < 0.3
    assert torch.equal(clip.image_encoder.tower.proj, image_before)


def test_a_factor_that_applies_to_no_image_costs_nothing(clip: Clip) -> None:
    data = coloured_images(4)
    task = PretrainTask(clip, data.factors)
    values = data.values.clone()
    values[:, 0] = -1
    losses = task(PretrainBatch(torch.randn(4, 3, *SIZE), values, None))
    assert losses["person"].item() == 0
    assert set(losses) == {"person", "clothes", "guide_person", "guide_clothes"}


def test_an_epoch_shows_each_image_once_and_captions_in_turn() -> None:
    data = coloured_images(37)
    marked = replace(data, values=torch.arange(37)[:, None].repeat(1, 2))
    batches = make_batches(marked, batch_size=8, caption_every=2)
    kinds = []
    for number in range(3):
        epoch = batches.epoch(number)
        found = list(epoch.batches)
        assert len(found) == epoch.steps == 4
        rows = torch.cat([batch.values[:, 0] for batch in found])
        assert len(set(rows.tolist())) == 32
        for batch in found:
            assert batch.images.shape == (8, 3, *SIZE)
            if batch.captions is not None:
                index = batch.values[:, 0].tolist()
                match = [k for k in CAPTION_KINDS if [data.captions[k][row] for row in index] == batch.captions]
                kinds.append(match[0])
    assert kinds == list(CAPTION_KINDS) * 2
    again, other = make_batches(marked, 8).epoch(1), make_batches(marked, 8).epoch(2)
    first = next(iter(batches.epoch(1).batches)).images
    assert torch.equal(next(iter(again.batches)).images, first)
    assert not torch.equal(next(iter(other.batches)).images, first)


@given(st.integers(0, 1000), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_grey_boxes_are_grey_and_as_frequent_as_asked(seed: int, probability: float) -> None:
    before = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (40, 32, 16, 3)).astype(np.uint8))
    after = before.clone()
    cover_with_boxes(after, np.random.default_rng(seed), probability)
    changed = (before != after).any(dim=-1)
    grey = (after[..., 0] == after[..., 1]) & (after[..., 1] == after[..., 2])
    assert grey[changed].all()
    covered = changed.flatten(1).any(dim=1).float().mean().item()
    assert abs(covered - probability) < 5 * math.sqrt(0.25 / 40)


def test_training_learns_person_and_clothes_and_changes_both_encoders(clip: Clip) -> None:
    data = coloured_images(160)
    task = PretrainTask(clip, data.factors)
    before = clip_state(clip)
    before = {name: value.clone() for name, value in before.items()}
    rows = pretrain(
        task, make_batches(data.part(slice(40, None))), PretrainSettings(epochs=20, learning_rate=3e-3), quiet=True
    )
    scores = zero_shot_accuracy(task, data.part(slice(0, 40)), HALF, HALF)
    assert rows[-1]["total"] < rows[0]["total"]
    assert all(score["accuracy"] > 90 for score in scores.values()), scores
    after = clip_state(clip)
    for part in ("visual.proj", "visual.conv1.layers.0.weight", "text.text_projection", "logit_scale"):
        assert not torch.equal(before[part], after[part])


def test_interrupted_training_ends_with_the_same_weights(tiny_clip_config: Path, tmp_path: Path) -> None:
    data = coloured_images(32)

    def train(epochs: int, folder: Path | None) -> dict[str, torch.Tensor]:
        clip = make_clip(tiny_clip_config, stem="conv", image_size=SIZE, seed=1)
        resume = ResumeSettings(folder, "same", seconds=0.0) if folder else None
        batches = make_batches(data)
        if epochs < 3:
            epoch_of, stop = batches.epoch, epochs

            def until(number: int) -> object:
                if number == stop:
                    raise KeyboardInterrupt
                return epoch_of(number)

            object.__setattr__(batches, "epoch", until)
        with contextlib.suppress(KeyboardInterrupt):
            pretrain(PretrainTask(clip, data.factors), batches, PretrainSettings(epochs=3), resume, quiet=True)
        return clip_state(clip)

    whole = train(3, None)
    train(2, tmp_path / "state")
    resumed = train(3, tmp_path / "state")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_reads_what_synth_writes(rendered: Path) -> None:
    data = read_captioned_images(rendered, SIZE)
    assert data.images.shape == (24, *SIZE, 3)
    assert data.values.shape == (24, len(data.factors))
    names = {factor.name: factor for factor in data.factors}
    assert not names["hair_colour"].of_clothes
    assert names["upper_colour"].of_clothes
    column = [factor.name for factor in data.factors].index("hair_colour")
    for value, caption in zip(data.values[:, column].tolist(), data.captions["caption_identity"], strict=True):
        colour = names["hair_colour"].phrases[value].removeprefix("a photo of a person with ").removesuffix(".")
        assert colour in caption


def test_wrong_tables_are_refused(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ccaf-pipeline synth"):
        read_captioned_images(tmp_path, SIZE)
    table = pq.read_table(rendered / PRETRAIN_NAME)
    path = tmp_path / PRETRAIN_NAME

    def refuses(changed: pa.Table, message: str) -> None:
        pq.write_table(changed, path)
        with pytest.raises(InputError, match=message):
            read_captioned_images(tmp_path, SIZE)

    refuses(table.drop_columns(["caption_full"]), "lacks columns caption_full")
    refuses(table.replace_schema_metadata({}), "phrases")
    refuses(table.slice(0, 1), "at least 2")
    at = table.column_names.index("hair_colour")
    beyond = pa.array([99] * 24, pa.int32())
    refuses(table.set_column(at, table.schema.field(at), beyond), "hair_colour has values outside its 6 phrases")
    at = table.column_names.index("image")
    broken = pa.array([b"no image"] * 24, pa.binary())
    refuses(table.set_column(at, table.schema.field(at), broken), "row 0")
    path.write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_captioned_images(tmp_path, SIZE)


def test_captions_fit_into_the_small_clip() -> None:
    from pipeline.datasets.walkers.captions import captions
    from pipeline.datasets.walkers.population import plan_pretraining

    clip = make_clip("walker-clip", stem="conv", image_size=(128, 64))
    assert clip.spec.grid == (8, 4)
    texts: list[str] = []
    for index in range(300):
        shot = plan_pretraining(0, index)
        texts += captions({**shot.identity.values(), **shot.outfit.values()}).values()
    tokens = clip.tokenizer(texts)
    assert (tokens == 0).any(dim=1).all()  # a padding zero behind every text: none was cut
