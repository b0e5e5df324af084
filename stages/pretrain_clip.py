"""The pre-training stage: trains a small CLIP on captioned walkers, writes weights that open_clip loads."""

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from pipeline.arithmetic import arithmetic
from pipeline.config import Parameters
from pipeline.config.deciding import deciding_training
from pipeline.datasets.walkers.writer import PRETRAIN_NAME
from pipeline.device import choose_device, set_threads
from pipeline.files import sha256_of_file
from pipeline.locks import hold
from pipeline.models.checkpoint import WEIGHTS_NAME, check_replaceable, save_checkpoint
from pipeline.models.clip import clip_state, load_clip
from pipeline.models.image_encoder import ImageEncoder, use_fast_layout
from pipeline.outputs import check_writable
from pipeline.trainer.curves import CURVES_NAME, curves_as_csv
from pipeline.trainer.epochs import check_progress, forget_progress
from pipeline.training.pretrain_data import CaptionedImages, PretrainBatches, read_captioned_images
from pipeline.training.pretrain_photos import join, photos_sha256, read_labelled_photos
from pipeline.training.pretrain_start import imagenet_file, start_from_imagenet
from pipeline.training.pretrain_task import (
    PretrainTask,
    check_image_factor,
    pretrain,
    zero_shot_accuracy,
    zero_unseen_words,
)
from pipeline.training.run_record import state_folder, state_settings
from pipeline.training.settings import PretrainSettings
from stages.console import Console
from stages.device_use import fitting_pretrain

HELD_OUT_SHARE = 0.05


@dataclass(frozen=True)
class _Inputs:
    """What is learned from.

    Attributes:
        walkers: Folder of ``pretrain.parquet``.
        photos: Folder of labelled photographs; None: there are none.
    """

    walkers: Path
    photos: Path | None

    def read(self, size: tuple[int, int]) -> tuple[CaptionedImages, CaptionedImages]:
        """The images to train on and those held out: the first of each kind."""
        kinds = [read_captioned_images(self.walkers, size)]
        if self.photos is not None:
            kinds.append(read_labelled_photos(self.photos, size))
        counts = [max(int(len(images) * HELD_OUT_SHARE), 1) for images in kinds]
        shown = [images.part(slice(count, None)) for images, count in zip(kinds, counts, strict=True)]
        held_out = [images.part(slice(0, count)) for images, count in zip(kinds, counts, strict=True)]
        return reduce(join, shown), reduce(join, held_out)

    def sha256(self) -> dict[str, str]:
        """What they are, for the checkpoint."""
        found = {"data_sha256": sha256_of_file(self.walkers / PRETRAIN_NAME)}
        return found if self.photos is None else {**found, "photos_sha256": photos_sha256(self.photos)}


def run(
    parameters: Parameters,
    console: Console,
    data: Path,
    out: Path,
    zero_unseen: bool = False,
    photos: Path | None = None,
) -> dict[str, Any]:
    """Train and write the checkpoint; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        data: Folder of ``pretrain.parquet``.
        out: Checkpoint folder to write.
        zero_unseen: Write zeros for the embeddings of words that no caption has.
        photos: Labelled photographs to learn from as well.

    Raises:
        InputError: The data, the model or a parameter is wrong; ``out`` holds something else, or another run has it.
        WorkError: The loss is not finite, or memory does not suffice.
    """
    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    check_writable(out)
    with hold(out), arithmetic(device), fitting_pretrain(parameters, device):
        check_replaceable(out, "clip")
        check_progress(state_folder(out))
        return _run(parameters, console, _Inputs(data, photos), out, zero_unseen, device)


def _start(encoder: ImageEncoder, settings: PretrainSettings) -> dict[str, str]:
    """Give the image tower the weights that it starts from; what they are, for the checkpoint."""
    check_image_factor(encoder, settings)  # before images are read
    if settings.image_start == "random":
        return {}
    path = imagenet_file()
    start_from_imagenet(encoder, path)
    return {"image_start_sha256": sha256_of_file(path)}


def _run(
    parameters: Parameters, console: Console, inputs: _Inputs, out: Path, zero_unseen: bool, device: str
) -> dict[str, Any]:
    settings, model = parameters.pretrain, parameters.model
    clip = load_clip(model.model_copy(update={"pretrained": None}), parameters.seed).to(device)
    start = _start(clip.image_encoder, settings)
    shown, held_out = inputs.read(model.image_size)
    made_of = {
        **inputs.sha256(),
        "model": clip.spec.to_dict(),
        **start,
        **deciding_training("clip", parameters, device),
    }
    task = PretrainTask(clip, shown.factors, parameters.seed).to(device)
    if start:
        use_fast_layout(task)
    batches = PretrainBatches(
        shown,
        settings,
        mean=model.pixel_mean,
        std=model.pixel_std,
        seed=parameters.seed,
        device=device,
    )
    resume = state_settings(parameters.training, out, made_of)
    curves = pretrain(task, batches, settings, resume, console.quiet)
    scores = zero_shot_accuracy(task, held_out, model.pixel_mean, model.pixel_std)
    summary = {
        "images": len(shown),
        "images_held_out": len(held_out),
        "loss": curves[-1]["total"],
        "zero_shot": scores,
    }
    if zero_unseen:
        summary["words_seen"] = zero_unseen_words(clip, shown, held_out)
    grid = f"{clip.spec.grid[0]}x{clip.spec.grid[1]}"
    save_checkpoint(
        out,
        "clip",
        clip_state(clip),
        {**made_of, **summary},
        metadata={"grid": grid},
        files={CURVES_NAME: curves_as_csv(curves)},
    )
    forget_progress(resume.folder)
    return {**summary, "weights": str(out / WEIGHTS_NAME), "out": str(out)}
