"""The pre-training stage: trains a small CLIP on captioned walkers, writes weights that open_clip loads."""

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
from pipeline.models.image_encoder import use_fast_layout
from pipeline.outputs import check_writable
from pipeline.trainer.curves import CURVES_NAME, curves_as_csv
from pipeline.trainer.epochs import check_progress, forget_progress
from pipeline.training.pretrain_data import PretrainBatches, read_captioned_images
from pipeline.training.pretrain_start import imagenet_file, start_from_imagenet
from pipeline.training.pretrain_task import PretrainTask, pretrain, zero_shot_accuracy, zero_unseen_words
from pipeline.training.run_record import state_folder, state_settings
from stages.console import Console
from stages.device_use import fitting_pretrain

HELD_OUT_SHARE = 0.05


def run(parameters: Parameters, console: Console, data: Path, out: Path, zero_unseen: bool = False) -> dict[str, Any]:
    """Train and write the checkpoint; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        data: Folder of ``pretrain.parquet``.
        out: Checkpoint folder to write.
        zero_unseen: Write zeros for the embeddings of words that no caption has.

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
        return _run(parameters, console, data, out, zero_unseen, device)


def _run(
    parameters: Parameters, console: Console, data: Path, out: Path, zero_unseen: bool, device: str
) -> dict[str, Any]:
    settings, model = parameters.pretrain, parameters.model
    clip = load_clip(model.model_copy(update={"pretrained": None}), parameters.seed).to(device)
    start = {}
    if settings.image_start == "imagenet":
        path = imagenet_file()
        start_from_imagenet(clip.image_encoder, path)
        start = {"image_start_sha256": sha256_of_file(path)}
    images = read_captioned_images(data, model.image_size)
    held_out = max(int(len(images) * HELD_OUT_SHARE), 1)
    made_of = {
        "data_sha256": sha256_of_file(data / PRETRAIN_NAME),
        "model": clip.spec.to_dict(),
        **start,
        **deciding_training("clip", parameters, device),
    }
    task = PretrainTask(clip, images.factors, parameters.seed).to(device)
    if start:
        use_fast_layout(task)
    batches = PretrainBatches(
        images.part(slice(held_out, None)),
        settings,
        mean=model.pixel_mean,
        std=model.pixel_std,
        seed=parameters.seed,
        device=device,
    )
    resume = state_settings(parameters.training, out, made_of)
    curves = pretrain(task, batches, settings, resume, console.quiet)
    scores = zero_shot_accuracy(task, images.part(slice(0, held_out)), model.pixel_mean, model.pixel_std)
    summary = {
        "images": len(images) - held_out,
        "images_held_out": held_out,
        "loss": curves[-1]["total"],
        "zero_shot": scores,
    }
    if zero_unseen:
        summary["words_seen"] = zero_unseen_words(clip, images)
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
