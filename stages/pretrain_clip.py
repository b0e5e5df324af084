"""``ccaf-pipeline pretrain-clip``: trains a small CLIP on captioned walkers, writes weights that open_clip loads."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config import Parameters
from stages.console import Console
from stages.options import JsonOption, ParamsOption, QuietOption, SeedOption, SetOption, make_context
from stages.paths import ARTIFACTS

HELD_OUT_SHARE = 0.05


def command(
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder of pretrain.parquet, written by synth. Default: walkers-pretrain in the folder of data sets.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Checkpoint folder to write.")] = ARTIFACTS / "clip",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the CLIP that model.name describes from random weights on captioned walkers; model.pretrained is not read.

    Interrupted training goes on from its last finished epoch when the same command is run again.
    """
    context = make_context(params, overrides, seed=seed, quiet=quiet, as_json=as_json)
    from stages.synth import PRETRAIN_FOLDER, default_root

    data = data or default_root(context.parameters) / PRETRAIN_FOLDER
    result = run(context.parameters, context.console, data, out)
    lines = [
        f"{name}: {score['accuracy']:.1f} % of phrases right (most frequent value: {score['chance']:.1f} %)"
        for name, score in result["zero_shot"].items()
    ]
    context.console.result(result, "\n".join([*lines, f"{result['weights']}: loss {result['loss']:.4f}"]))
    context.say_next("parse")


def run(parameters: Parameters, console: Console, data: Path, out: Path) -> dict[str, Any]:
    """Train and write the checkpoint; returns a summary.

    Raises:
        InputError: The data, the model or a parameter is wrong.
        WorkError: The loss is not finite, or memory does not suffice.
    """
    from pipeline.arithmetic import arithmetic
    from pipeline.device import choose_device, set_threads
    from stages.device_use import fitting_pretrain

    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    with arithmetic(device), fitting_pretrain(parameters, device):
        return _run(parameters, console, data, out, device)


def _run(parameters: Parameters, console: Console, data: Path, out: Path, device: str) -> dict[str, Any]:
    from pipeline.datasets.walkers.writer import PRETRAIN_NAME
    from pipeline.files import sha256_of_file, sha256_of_value
    from pipeline.models.checkpoint import WEIGHTS_NAME, save_checkpoint
    from pipeline.models.clip import clip_state, load_clip
    from pipeline.training.loop import CURVES_NAME, ResumeSettings, curves_as_csv, forget_progress
    from pipeline.training.pretrain import PretrainTask, pretrain, zero_shot_accuracy
    from pipeline.training.pretrain_data import PretrainBatches, read_captioned_images

    settings, model = parameters.pretrain, parameters.model
    clip = load_clip(
        model.name,
        None,
        stem=model.stem,
        image_size=model.image_size,
        stride=model.stride,
        pixel_mean=model.pixel_mean,
        pixel_std=model.pixel_std,
        seed=parameters.seed,
    ).to(device)
    images = read_captioned_images(data, model.image_size)
    held_out = max(int(len(images) * HELD_OUT_SHARE), 1)
    made_of = {
        "data_sha256": sha256_of_file(data / PRETRAIN_NAME),
        "model": clip.spec.to_dict(),
        "parameters": settings.model_dump(mode="json"),
        "seed": parameters.seed,
    }
    task = PretrainTask(clip, images.factors, parameters.seed).to(device)
    batches = PretrainBatches(
        images.part(slice(held_out, None)),
        batch_size=settings.batch_size,
        caption_every=settings.caption_every,
        grey_box_probability=settings.grey_box_probability,
        mean=model.pixel_mean,
        std=model.pixel_std,
        seed=parameters.seed,
        device=device,
    )
    resume = ResumeSettings(out.with_name(f"{out.name}.partial"), sha256_of_value(made_of))
    curves = pretrain(
        task,
        batches,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        resume=resume,
        quiet=console.quiet,
    )
    scores = zero_shot_accuracy(task, images.part(slice(0, held_out)), model.pixel_mean, model.pixel_std)
    summary = {
        "images": len(images) - held_out,
        "images_held_out": held_out,
        "loss": curves[-1]["total"],
        "zero_shot": scores,
    }
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
