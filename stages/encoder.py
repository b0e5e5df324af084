"""What stage 2 of training starts from: images, prompts, the model with its losses, the batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config import Parameters
from pipeline.config.deciding import deciding_training
from pipeline.errors import InputError
from pipeline.features.extraction import encode_images
from pipeline.losses.registry import find_terms
from pipeline.losses.target_alignment import TargetSettings
from pipeline.losses.terms import settings_as
from pipeline.models.casting import cast_together
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.clip import Clip, load_clip
from pipeline.models.compiling import compile_encoder, is_worthwhile
from pipeline.models.image_encoder import image_encoders
from pipeline.models.recompute import recompute_activations
from pipeline.redress.regions import say_unchanged
from pipeline.trainer.distributed import ALONE, Ranks, join_shares, share_of
from pipeline.training.batches import EncoderData
from pipeline.training.captions import Captions, find_captions
from pipeline.training.classes import NO_CLASS, clothes_of_identities
from pipeline.training.encoder_task import EncoderTask
from pipeline.training.learned_prompts import check_learned_prompts, read_learned_prompts
from pipeline.training.methods import identity_images, term_weights
from pipeline.training.redressing import Dresser
from pipeline.training.sampler import IdentitySampler
from pipeline.training.term_checks import check_terms
from pipeline.training.training_data import TrainingData, read_training_data
from stages.console import Console

_FROM_PROMPTS = {
    "shards_sha256",
    "clip_sha256",
    "model",
    "parameters",
    "clothes_classes",
    "clothes_source",
    "images_without_clothes_class",
    "identity_texts",
    "image_clothes_classes",
}
"""Configuration and tensors of a prompts checkpoint that stage 2 reads."""


def _term_weights(parameters: Parameters, prompts: Checkpoint, console: Console) -> dict[str, float]:
    """Terms of the method; those about clothes are left out where the prompts know no clothes classes.

    Raises:
        InputError: A term is not known, or nothing of the method is left.
    """
    settings = parameters.encoder
    check_terms(settings)
    weights = term_weights(settings.method, settings, settings.weights)
    if prompts.config["clothes_classes"]:
        return weights
    about_clothes = [
        name for name, term in find_terms(weights).items() if term.needs & {"clothes_texts", "clothes_classes"}
    ]
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
    wanted = identity_images(parameters.encoder.method, parameters.prompts.identity_images)
    found = prompts.config.get("identity_images", "shielding")
    uses = any("identity_texts" in term.needs for term in find_terms(weights).values())
    if uses and wanted != found:
        raise InputError(
            f"the prompts in {prompts.folder} were learned from {found} images, method {parameters.encoder.method} "
            f"needs {wanted} ones: run `ccaf-pipeline train --stage prompts` again"
        )


def _targets(
    parameters: Parameters,
    clip: Clip,
    data: TrainingData,
    weights: dict[str, float],
    device: str,
    quiet: bool,
    ranks: Ranks,
) -> Tensor | None:
    """Features of all shielding images by the encoder as it is before training, if a term wants them cached.

    Each rank makes those of its own share of the images.
    """
    needed = any("target" in term.needs for term in find_terms(weights).values())
    if not needed or settings_as(parameters.encoder, TargetSettings).target == "computed":
        return None
    own = data.rows[share_of(len(data.rows), ranks)]
    found = encode_images(
        clip.image_encoder.to(device),
        data.store.shielding,
        own.tolist(),
        lambda features: features.joined,
        mean=clip.spec.pixel_mean,
        std=clip.spec.pixel_std,
        device=device,
        what="frozen shielding features",
        quiet=quiet,
    )
    return found if ranks.world == 1 else join_shares(found.to(device), len(data.rows), ranks)


def _make_task(parameters: Parameters, inputs: "Inputs", targets: Tensor | None) -> EncoderTask:
    clip, data, prompts = inputs.clip, inputs.data, inputs.prompts
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
        inputs.weights,
        identities=len(data.identities),
        seed=parameters.seed,
        settings=settings,
        scale=float(clip.logit_scale.detach().exp()),
        identity_texts=prompts.tensors["identity_texts"],
        clothes_texts=prompts.tensors.get("clothes_texts"),
        identity_clothes=torch.from_numpy(clothes_of_identities(data.identities.labels, classes))
        if has_clothes
        else None,
        targets=targets,
        captions=None if inputs.captions is None else inputs.captions.texts,
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
        views=settings,
        loading=parameters.loading,
        seed=parameters.seed,
        device=device,
        cameras=data.camera_ids,
        shielding=shielding,
        dresser=Dresser(settings, data.reader, data.store, data.rows, clothes_classes) if settings.redress else None,
    )


@dataclass(frozen=True)
class Places:
    """What stage 2 reads and writes."""

    shards: Path
    prompts: Path
    out: Path


@dataclass(frozen=True)
class Inputs:
    """What stage 2 starts from.

    Attributes:
        prompts: Checkpoint of stage 1.
        data: The training images.
        clip: The CLIP to start from.
        weights: Weight of each term of the method.
        made_of: Everything that decides the result.
        captions: Texts of the training images, where a term needs them.
    """

    prompts: Checkpoint
    data: TrainingData
    clip: Clip
    weights: dict[str, float]
    made_of: dict[str, Any]
    captions: Captions | None = None


def read_inputs(parameters: Parameters, console: Console, places: Places, device: str) -> Inputs:
    """Read and check everything that stage 2 starts from; ``device`` is that of the training.

    Raises:
        InputError: The shards, the prompts, the model or a parameter is wrong.
    """
    prompts = read_learned_prompts(places.prompts, _FROM_PROMPTS)
    clip = load_clip(parameters.model, parameters.seed)  # a wrong model before any decoding
    if clip.note:
        console.say(clip.note)
    drop = prompts.config["parameters"].get("without_clothes") == "drop"
    data = read_training_data(
        places.shards,
        parameters.data.dataset,
        parameters.model.image_size,
        drop,
        loading=parameters.loading,
        quiet=console.quiet,
    )
    if data.store.note:
        console.say(data.store.note)
    if parameters.encoder.redress and (warning := say_unchanged(data.reader.metadata.clothes_labels)):
        console.say(warning)
    check_learned_prompts(prompts, data.reader, clip)
    weights = _term_weights(parameters, prompts, console)
    _check_identity_images(parameters, prompts, weights)
    made_of = {
        "shards_sha256": data.reader.record_sha256,
        "prompts_sha256": prompts.sha256,
        "clip_sha256": clip.weights_sha256,
        "model": clip.spec.to_dict(),
        "terms": weights,
        **deciding_training("encoder", parameters, device),
    }
    captions = find_captions(parameters.encoder, data.reader.ids.image_id[data.rows].tolist())
    if captions is not None:
        made_of["captions_sha256"] = captions.sha256
    return Inputs(prompts, data, clip, weights, made_of, captions)


def compiles(parameters: Parameters, inputs: Inputs, device: str, ranks: Ranks) -> bool:
    """Whether the encoders are compiled, as the parameters say or leave open.

    Raises:
        InputError: It is asked for beside settings that it cannot be combined with.
    """
    training, settings = parameters.training, parameters.encoder
    combines = not training.recompute_activations and training.accumulation == 1
    if training.compile is True and not combines:
        raise InputError(
            "training.compile works neither with training.recompute_activations nor with training.accumulation: "
            "set it to false, or those to false and 1"
        )
    if training.compile != "auto":
        return training.compile
    steps = settings.epochs * (len(inputs.data.rows) // (settings.identities_per_batch * settings.images_per_identity))
    return combines and not training.deterministic and ranks.world == 1 and is_worthwhile(device, steps)


def make_task(
    parameters: Parameters, inputs: Inputs, device: str, console: Console, ranks: Ranks = ALONE
) -> EncoderTask:
    """Model and losses, on the device; ``ranks`` make together what is computed of all images.

    Raises:
        InputError: See :func:`recompute_activations`; or settings cannot be combined.
    """
    training = parameters.training
    compiled = compiles(parameters, inputs, device, ranks)
    targets = _targets(parameters, inputs.clip, inputs.data, inputs.weights, device, console.quiet, ranks)
    task = _make_task(parameters, inputs, targets).to(device)
    for encoder in image_encoders(task):
        if training.recompute_activations:
            recompute_activations(encoder)
        elif compiled:
            compile_encoder(encoder, console.say if training.compile == "auto" else None)
        elif ranks.world == 1:
            cast_together(encoder)
    return task


def make_data(parameters: Parameters, inputs: Inputs, task: EncoderTask, device: str) -> EncoderData:
    """The batches, with what the task needs of them."""
    return _make_data(parameters, inputs.clip, inputs.data, inputs.prompts, task.uses_shielding_images, device)
