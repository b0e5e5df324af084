"""Stage 1 of training: reads shards, caches frozen features, learns prompts, writes the prompts checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import Parameters
from pipeline.config.deciding import deciding_training, recorded
from pipeline.device import choose_device, set_threads
from pipeline.errors import InputError
from pipeline.features.extraction import encode_images
from pipeline.files import sha256_of_value
from pipeline.models.checkpoint import read_checkpoint, save_checkpoint
from pipeline.models.clip import Clip, load_clip
from pipeline.models.prompts import CLOTHES_TEMPLATE, IDENTITY_TEMPLATE, PromptLearner
from pipeline.precision import Precision
from pipeline.trainer.curves import CURVES_NAME, curves_as_csv
from pipeline.trainer.engine import Engine
from pipeline.trainer.epochs import forget_progress
from pipeline.trainer.record import RECORD_NAME
from pipeline.training.classes import (
    NO_CLASS,
    ClassIndex,
    ResolvedSource,
    choose_clothes_source,
    cluster_clothes,
    index_classes,
)
from pipeline.training.methods import IdentityImages, identity_images
from pipeline.training.prompt_task import PromptData, PromptTask, train_prompts
from pipeline.training.run_record import epoch_hook, record_text, state_settings, write_timings
from pipeline.training.training_data import TrainingData, read_training_data
from stages.console import Console
from stages.device_use import fitting_prompts, settled, training_arithmetic

FEATURE_BATCH = 128
SUMMARY = (
    "images",
    "identities",
    "clothes_source",
    "clothes_classes",
    "images_without_clothes_class",
    "images_dropped",
    "loss",
)
"""What the stage returns is in its checkpoint as well."""


@dataclass(frozen=True)
class ClothesClasses:
    """Clothes classes of the training images, and where they came from: labels, cluster, image or none."""

    source: str
    index: ClassIndex


@dataclass(frozen=True)
class _FrozenFeatures:
    """Projected features of the training images, (N, D) each; ``clothes`` is zero where nothing needs it."""

    images: torch.Tensor
    clothes: torch.Tensor


def _frozen_features(
    clip: Clip, data: TrainingData, learned_from: IdentityImages, with_clothes: bool, device: str, quiet: bool
) -> _FrozenFeatures:
    load = {"shielding": data.store.shielding, "raw": data.store.raw}[learned_from]
    encode = partial(
        encode_images,
        clip.image_encoder,
        rows=data.rows.tolist(),
        select=lambda features: features.projected,
        mean=clip.spec.pixel_mean,
        std=clip.spec.pixel_std,
        batch_size=FEATURE_BATCH,
        device=device,
        quiet=quiet,
    )
    images = encode(load=load, what=f"{learned_from} features")
    clothes = encode(load=data.store.clothes, what="clothes features") if with_clothes else torch.zeros_like(images)
    return _FrozenFeatures(images, clothes)


def _clothes_classes(
    parameters: Parameters, source: ResolvedSource, data: TrainingData, clothes: torch.Tensor
) -> ClothesClasses:
    if source == "labels":
        ids = data.clothes_ids
    elif source == "image":
        ids = np.arange(len(data.rows), dtype=np.int64)
    elif source == "cluster":
        visible = np.where(data.has_clothes, data.identities.labels, NO_CLASS)
        ids = cluster_clothes(clothes.numpy(), visible, parameters.prompts.cluster_distance)
    else:
        ids = np.full(len(data.rows), NO_CLASS, dtype=np.int64)
    return ClothesClasses(source, index_classes(np.where(data.has_clothes, ids, NO_CLASS)))


def _make_task(
    parameters: Parameters, clip: Clip, identities: int, clothes: int, generator: torch.Generator
) -> PromptTask:
    def learner(template: str, classes: int) -> PromptLearner:
        return PromptLearner(
            template,
            classes,
            parameters.prompts.tokens,
            tokenizer=clip.tokenizer,
            encoder=clip.text_encoder,
            context_length=clip.text_encoder.context_length,
            generator=generator,
        )

    return PromptTask(
        learner(IDENTITY_TEMPLATE, identities),
        learner(CLOTHES_TEMPLATE, clothes) if clothes else None,
        clip.text_encoder,
        parameters.prompts.similarity,
        float(clip.logit_scale.detach().exp()),
        parameters.prompts.text_chunk,
    )


def _finished(out: Path, made_of: Mapping[str, Any]) -> dict[str, Any] | None:
    """What :func:`run` returned when it made the prompts at ``out``; None if they are not whole or of other things."""
    try:
        config = read_checkpoint(out, "prompts", "ccaf-pipeline train --stage prompts").config
    except InputError:
        return None
    if sha256_of_value({name: config.get(name) for name in made_of}) != sha256_of_value(made_of):
        return None
    return {**{name: config[name] for name in SUMMARY}, "out": str(out)}


def run(parameters: Parameters, console: Console, shards: Path, out: Path, keep: bool = False) -> dict[str, Any]:
    """Learn the prompts and write their checkpoint; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        shards: Of the parsed data set.
        out: Of the checkpoint.
        keep: Learn nothing if finished prompts of the same parameters and inputs are at ``out``: an unfinished training
            of the encoder goes on with the very prompts that it began with.

    Raises:
        InputError: The shards, the model or a parameter is wrong.
        WorkError: The loss is not finite, or memory does not suffice.
    """
    set_threads(parameters.threads)
    with training_arithmetic(parameters, parameters.device):
        device = choose_device(parameters.device)
        parameters = settled(parameters, device)
        with fitting_prompts(parameters, device):
            return _run(parameters, console, shards, out, keep, device)


def _run(parameters: Parameters, console: Console, shards: Path, out: Path, keep: bool, device: str) -> dict[str, Any]:
    settings = parameters.prompts
    drop = settings.without_clothes == "drop"
    clip = load_clip(parameters.model, parameters.seed).freeze().to(device)  # a wrong model before any decoding
    if clip.note:
        console.say(clip.note)
    data = read_training_data(
        shards,
        parameters.data.dataset,
        parameters.model.image_size,
        drop,
        loading=parameters.loading,
        quiet=console.quiet,
    )
    if data.store.note:
        console.say(data.store.note)
    source = choose_clothes_source(settings.clothes_classes, data.clothes_ids)
    learned_from = identity_images(parameters.encoder.method, settings.identity_images)
    made_of = {
        "shards_sha256": data.reader.record_sha256,
        "clip_sha256": clip.weights_sha256,
        "model": clip.spec.to_dict(),
        **deciding_training("prompts", parameters, device),
    }
    finished = _finished(out, made_of) if keep else None
    if finished is not None:
        console.say(f"finished prompts of the same parameters and inputs: {out}")
        return finished
    features = _frozen_features(clip, data, learned_from, source != "none", device, console.quiet)
    classes = _clothes_classes(parameters, source, data, features.clothes)
    generator = torch.Generator().manual_seed(parameters.seed)
    task = _make_task(parameters, clip, len(data.identities), len(classes.index), generator).to(device)
    resume = state_settings(parameters.training, out, made_of)
    trained = train_prompts(
        task,
        PromptData(
            features.images.to(device), features.clothes.to(device), data.identities.labels, classes.index.labels
        ),
        settings,
        parameters.seed,
        Engine(
            precision=Precision(parameters.training.precision, device),
            device=device,
            clip=parameters.training.clip_gradients,
            tell=console.say,
            epoch_done=epoch_hook(parameters.training, out, settings.epochs),
            resume=resume,
            quiet=console.quiet,
        ),
    )
    tensors = {
        **{f"prompts.{key}": value for key, value in task.state_dict().items()},
        "identity_texts": task.identity.encode_all(clip.text_encoder, settings.text_chunk),
        "image_clothes_classes": torch.from_numpy(classes.index.labels),
    }
    if task.clothes is not None:
        tensors["clothes_texts"] = task.clothes.encode_all(clip.text_encoder, settings.text_chunk)
    without = int((classes.index.labels == NO_CLASS).sum())
    summary = {
        "images": len(data.rows),
        "identities": len(data.identities),
        "clothes_source": classes.source,
        "clothes_classes": len(classes.index),
        "images_without_clothes_class": without,
        "images_dropped": data.dropped,
    }
    config = {
        **made_of,
        **summary,
        "loss": trained.loss,
        "dataset": data.reader.metadata.dataset,
        "identity_ids": data.identities.ids.tolist(),
        "clothes_ids": classes.index.ids.tolist(),
    }
    files = {
        CURVES_NAME: curves_as_csv(trained.curves),
        RECORD_NAME: record_text(recorded("prompts", parameters), made_of, summary, device, workers=1),
    }
    save_checkpoint(out, "prompts", tensors, config, files=files)
    write_timings(out, trained, settings.batch_size, device)
    forget_progress(resume.folder)
    console.say(
        f"{summary['identities']} identity and {summary['clothes_classes']} clothes prompts "
        f"(clothes classes: {classes.source}; {without} of {len(data.rows)} images without one; "
        f"{data.dropped} images dropped) -> {out}"
    )
    return {**summary, "out": str(out), "loss": trained.loss}
