"""Stage 2 of training: reads shards and prompts, trains the encoders, writes the encoder checkpoint."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from pipeline.config import Parameters
from pipeline.device import choose_device, set_threads
from pipeline.errors import InputError
from pipeline.files import sha256_of_value
from pipeline.models.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from pipeline.models.clip import Clip, ClipSpec
from pipeline.training.batches import EncoderData
from pipeline.training.encoder import EncoderTask, train_encoder
from pipeline.training.loop import CURVES_NAME, ResumeSettings, curves_as_csv, forget_progress
from pipeline.training.sampler import IdentitySampler
from stages.console import Console
from stages.training_data import TrainingData, load_model, read_training_data


def _check_prompts(prompts: Checkpoint, data: TrainingData, clip: Clip) -> None:
    """The prompts must have been learned on these shards with this CLIP, else classes and features do not fit."""
    again = "run `ccaf-pipeline train --stage prompts` again"
    if prompts.config["shards_sha256"] != data.reader.record_sha256:
        raise InputError(
            f"the prompts in {prompts.folder} were learned on other shards than {data.reader.folder}: {again}"
        )
    model = ClipSpec.from_dict(prompts.config["model"])
    if prompts.config["clip_sha256"] != clip.weights_sha256 or model != clip.spec:
        raise InputError(f"the prompts in {prompts.folder} were learned with another CLIP than model names: {again}")


def _make_task(parameters: Parameters, clip: Clip, prompts: Checkpoint) -> EncoderTask:
    settings = parameters.encoder
    return EncoderTask(
        clip.image_encoder,
        deepcopy(clip.image_encoder),
        prompts.tensors["identity_texts"],
        prompts.tensors.get("clothes_texts"),
        generator=torch.Generator().manual_seed(parameters.seed),
        label_smoothing=settings.label_smoothing,
        triplet_margin=settings.triplet_margin,
        identity_weight=settings.identity_weight,
        disentangle=settings.disentangle,
        similarity=settings.similarity,
        scale=float(clip.logit_scale.detach().exp()),
        lambda_con=settings.lambda_con,
        lambda_dis=settings.lambda_dis,
    )


def _make_data(parameters: Parameters, clip: Clip, data: TrainingData, prompts: Checkpoint, device: str) -> EncoderData:
    settings = parameters.encoder
    return EncoderData(
        store=data.store,
        rows=data.rows,
        identities=data.identities.labels,
        clothes_classes=prompts.tensors["image_clothes_classes"].numpy(),
        sampler=IdentitySampler(
            data.identities.labels, settings.identities_per_batch, settings.images_per_identity, parameters.seed
        ),
        mean=clip.spec.pixel_mean,
        std=clip.spec.pixel_std,
        flip_probability=settings.flip_probability,
        pad=settings.pad,
        erase_probability=settings.erase_probability,
        seed=parameters.seed,
        device=device,
    )


def run(parameters: Parameters, console: Console, shards: Path, prompts_folder: Path, out: Path) -> dict[str, Any]:
    """Train the encoders and write their checkpoint; returns a summary.

    Raises:
        InputError: The shards, the prompts, the model or a parameter is wrong.
        WorkError: The loss is not finite.
    """
    settings = parameters.encoder
    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    prompts = read_checkpoint(prompts_folder, "prompts", "ccaf-pipeline train --stage prompts")
    data = read_training_data(shards, parameters.data.dataset, parameters.model.image_size)
    clip = load_model(parameters.model, parameters.seed)
    _check_prompts(prompts, data, clip)
    made_of = {
        "shards_sha256": data.reader.record_sha256,
        "prompts_sha256": prompts.sha256,
        "clip_sha256": clip.weights_sha256,
        "model": clip.spec.to_dict(),
        "parameters": settings.model_dump(mode="json"),
        "seed": parameters.seed,
    }
    task = _make_task(parameters, clip, prompts).to(device)
    resume = ResumeSettings(out.with_name(f"{out.name}.partial"), sha256_of_value(made_of))
    curves = train_encoder(
        task,
        _make_data(parameters, clip, data, prompts, device),
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        head_factor=settings.head_factor,
        weight_decay=settings.weight_decay,
        warmup_fraction=settings.warmup_fraction,
        resume=resume,
        quiet=console.quiet,
    )
    summary = {
        "epochs": settings.epochs,
        "clothes_feature_minimisation": task.clothes_projection is not None,
        "loss": curves[-1]["total"],
    }
    config = {
        **made_of,
        **summary,
        "dataset": data.reader.metadata.dataset,
        "clothes_source": prompts.config["clothes_source"],
    }
    save_checkpoint(out, "encoder", task.state_dict(), config, files={CURVES_NAME: curves_as_csv(curves)})
    forget_progress(resume.folder)
    console.say(f"encoder trained for {settings.epochs} epochs, loss {summary['loss']:.3f} -> {out}")
    return {**summary, "out": str(out)}
