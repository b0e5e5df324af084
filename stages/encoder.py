"""Stage 2 of training: reads shards and prompts, trains the encoders, writes the encoder checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config import Parameters
from pipeline.device import choose_device, set_threads
from pipeline.errors import InputError
from pipeline.files import sha256_of_value
from pipeline.losses.registry import find_terms
from pipeline.losses.terms import LossSettings
from pipeline.models.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from pipeline.models.clip import Clip, ClipSpec
from pipeline.models.extraction import encode_images
from pipeline.training.batches import EncoderData
from pipeline.training.classes import NO_CLASS, clothes_of_identities
from pipeline.training.encoder import EncoderTask, train_encoder
from pipeline.training.loop import CURVES_NAME, ResumeSettings, curves_as_csv, forget_progress
from pipeline.training.methods import term_weights
from pipeline.training.sampler import IdentitySampler
from stages.console import Console
from stages.prompts import identity_images
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


def _term_weights(parameters: Parameters, prompts: Checkpoint, console: Console) -> dict[str, float]:
    """Terms of the method; those about clothes are left out where the prompts know no clothes classes.

    Raises:
        InputError: A term is not known, or nothing of the method is left.
    """
    settings = parameters.encoder
    weights = term_weights(
        settings.method,
        {"lambda_con": settings.lambda_con, "lambda_dis": settings.lambda_dis},
        settings.weights,
    )
    terms = find_terms(weights)
    if prompts.config["clothes_classes"]:
        return weights
    about_clothes = [name for name, term in terms.items() if term.needs & {"clothes_texts", "clothes_classes"}]
    left = {name: weight for name, weight in weights.items() if name not in about_clothes}
    if about_clothes and left.keys() <= {"identity"}:
        raise InputError(
            f"method {settings.method} needs clothes classes, but {prompts.folder} has none: set "
            f"prompts.clothes_classes and run `ccaf-pipeline train --stage prompts` again"
        )
    if about_clothes:
        console.say(f"no clothes classes: without {', '.join(about_clothes)}")
    return left


def _check_identity_images(parameters: Parameters, prompts: Checkpoint, weights: dict[str, float]) -> None:
    wanted, found = identity_images(parameters), prompts.config.get("identity_images", "shielding")
    uses = any("identity_texts" in term.needs for term in find_terms(weights).values())
    if uses and wanted != found:
        raise InputError(
            f"the prompts in {prompts.folder} were learned from {found} images, method {parameters.encoder.method} "
            f"needs {wanted} ones: run `ccaf-pipeline train --stage prompts` again"
        )


def _targets(
    parameters: Parameters, clip: Clip, data: TrainingData, weights: dict[str, float], device: str, quiet: bool
) -> Tensor | None:
    """Features of all shielding images by the encoder as it is before training, if a term wants them cached."""
    needed = any("target" in term.needs for term in find_terms(weights).values())
    if not needed or parameters.encoder.target == "computed":
        return None
    return encode_images(
        clip.image_encoder.to(device),
        data.store.shielding,
        data.rows.tolist(),
        lambda features: features.projected,
        mean=clip.spec.pixel_mean,
        std=clip.spec.pixel_std,
        device=device,
        what="frozen shielding features",
        quiet=quiet,
    )


def _make_task(
    parameters: Parameters,
    clip: Clip,
    data: TrainingData,
    prompts: Checkpoint,
    weights: dict[str, float],
    targets: Tensor | None,
) -> EncoderTask:
    settings = parameters.encoder
    classes = prompts.tensors["image_clothes_classes"].numpy()
    if parameters.model.camera_embedding:
        cameras = np.unique(data.reader.ids.camera_id[data.rows])
        cameras = cameras[cameras >= 0]
        if not len(cameras):
            raise InputError("model.camera_embedding is set, but the training images have no camera_id")
        clip.image_encoder.add_cameras(
            torch.from_numpy(cameras.astype(np.int64)),
            parameters.model.camera_embedding,
            torch.Generator().manual_seed(parameters.seed),
        )
    has_clothes = bool((classes != NO_CLASS).any())
    return EncoderTask(
        clip.image_encoder,
        weights,
        identities=len(data.identities),
        seed=parameters.seed,
        settings=LossSettings(
            label_smoothing=settings.label_smoothing,
            triplet_margin=settings.triplet_margin,
            identity_weight=settings.identity_weight,
            identity_features=settings.identity_features,
            similarity=settings.similarity,
            scale=float(clip.logit_scale.detach().exp()),
            disentangle=settings.disentangle,
            cal_epsilon=settings.cal_epsilon,
            cal_scale=settings.cal_scale,
        ),
        identity_texts=prompts.tensors["identity_texts"],
        clothes_texts=prompts.tensors.get("clothes_texts"),
        identity_clothes=torch.from_numpy(clothes_of_identities(data.identities.labels, classes))
        if has_clothes
        else None,
        targets=targets,
        alternate=settings.alternate,
    )


def _make_data(
    parameters: Parameters, clip: Clip, data: TrainingData, prompts: Checkpoint, shielding: bool, device: str
) -> EncoderData:
    settings = parameters.encoder
    clothes_classes = prompts.tensors["image_clothes_classes"].numpy()
    return EncoderData(
        store=data.store,
        rows=data.rows,
        identities=data.identities.labels,
        clothes_classes=clothes_classes,
        sampler=IdentitySampler(
            data.identities.labels,
            settings.identities_per_batch,
            settings.images_per_identity,
            parameters.seed,
            spread=settings.spread,
            outfits=data.clothes_ids if (data.clothes_ids >= 0).any() else clothes_classes,
            cameras=data.camera_ids,
        ),
        mean=clip.spec.pixel_mean,
        std=clip.spec.pixel_std,
        flip_probability=settings.flip_probability,
        pad=settings.pad,
        erase_probability=settings.erase_probability,
        seed=parameters.seed,
        device=device,
        cameras=data.camera_ids,
        geometry=settings.view_geometry,
        shielding=shielding,
        threads=parameters.loading.threads,
        ahead=parameters.loading.ahead,
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
    drop = prompts.config["parameters"].get("without_clothes") == "drop"
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
    clip = load_model(parameters.model, parameters.seed)
    _check_prompts(prompts, data, clip)
    weights = _term_weights(parameters, prompts, console)
    _check_identity_images(parameters, prompts, weights)
    made_of = {
        "shards_sha256": data.reader.record_sha256,
        "prompts_sha256": prompts.sha256,
        "clip_sha256": clip.weights_sha256,
        "model": clip.spec.to_dict(),
        "parameters": settings.model_dump(mode="json"),
        "camera_embedding": parameters.model.camera_embedding,
        "terms": weights,
        "seed": parameters.seed,
    }
    targets = _targets(parameters, clip, data, weights, device, console.quiet)
    task = _make_task(parameters, clip, data, prompts, weights, targets).to(device)
    resume = ResumeSettings(out.with_name(f"{out.name}.partial"), sha256_of_value(made_of))
    curves = train_encoder(
        task,
        _make_data(parameters, clip, data, prompts, task.uses_shielding_images, device),
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
        "method": settings.method,
        "clothes_feature_minimisation": "disentangle" in weights or "clothes_uniform" in weights,
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
