"""Stage 2 of training: trains the encoders, in this process or in several, and writes the encoder checkpoint."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import stages
from pipeline.config import Parameters
from pipeline.config.deciding import recorded, unusual_on_cuda
from pipeline.device import choose_device, set_threads
from pipeline.errors import InputError, WorkError
from pipeline.files import sha256_of_value
from pipeline.models.checkpoint import save_checkpoint
from pipeline.models.compiling import is_compiled
from pipeline.models.image_encoder import image_encoders
from pipeline.precision import Precision
from pipeline.ray_address import Cluster
from pipeline.trainer.curves import CURVES_NAME, curves_as_csv
from pipeline.trainer.distributed import ALONE, Ranks
from pipeline.trainer.engine import Engine, TrainingRun
from pipeline.trainer.epochs import forget_progress
from pipeline.trainer.record import RECORD_NAME, VALIDATIONS_NAME, validations_as_csv
from pipeline.trainer.worker_report import WorkerReport
from pipeline.trainer.workers import WorkerPlan, check_plan, run_workers
from pipeline.training.collapse import COLLAPSED, likeness_of_people
from pipeline.training.encoder_task import EncoderTask, train_encoder
from pipeline.training.run_record import (
    epoch_hook,
    record_text,
    state_folder,
    state_settings,
    write_timings,
)
from pipeline.training.validation import make_validation
from stages.console import Console
from stages.device_use import fitting_encoder, settled, training_arithmetic
from stages.encoder import Inputs, Places, make_data, make_task, read_inputs

BEST_FOLDER = "best"
MINIMISE_CLOTHES = {"disentangle", "clothes_uniform", "clothes_uniform_own", "caption_orthogonal"}


def _train(
    parameters: Parameters,
    console: Console,
    places: Places,
    inputs: Inputs,
    device: str,
    ranks: Ranks = ALONE,
    report: WorkerReport | None = None,
) -> dict[str, Any]:
    """Train in this process, which is one of ``ranks``; the first one writes the checkpoint. Returns a summary."""
    settings, training = parameters.encoder, parameters.training
    task = make_task(parameters, inputs, device, console, ranks)
    validation, chosen_by = make_validation(
        training,
        parameters.evaluate,
        inputs.data,
        task.image_encoder,
        inputs.clip.spec,
        seed=parameters.seed,
        device=device,
    )
    ways: dict[str, Any] = {"tell": console.say}
    if report is not None:
        ways = {"tell": report.tell, "tick": report.tick, "stop": report.asked_to_stop}
    engine = Engine(
        precision=Precision(training.precision, device),
        device=device,
        parts=training.accumulation,
        clip=training.clip_gradients,
        ranks=ranks,
        seed=parameters.seed,
        epoch_done=epoch_hook(parameters.training, places.out, settings.epochs),
        resume=state_settings(parameters.training, places.out, inputs.made_of),
        validation=validation,
        quiet=console.quiet,
        **ways,
    )
    trained = train_encoder(task, make_data(parameters, inputs, task, device), settings, engine)
    summary: dict[str, Any] = {
        "epochs": settings.epochs,
        "method": settings.method,
        "clothes_feature_minimisation": bool(MINIMISE_CLOTHES & inputs.weights.keys()),
        "loss": trained.loss,
    }
    if trained.best is not None:
        summary |= {"best": trained.best, "best_chosen_by": chosen_by}
    if ranks.first:
        likeness = _likeness(parameters, inputs, task, device, engine)
        _write(parameters, places.out, inputs, task, trained, summary, likeness, device, ranks)
        summary["mean_cosine"] = likeness
        if likeness is not None and likeness > COLLAPSED:
            engine.tell(
                f"warning: the features of different people are nearly the same (mean cosine {likeness:.3f}), so that "
                f"nobody will be found by them; lower encoder.learning_rate ({settings.learning_rate:g})"
            )
    return summary


def _likeness(parameters: Parameters, inputs: Inputs, task: EncoderTask, device: str, engine: Engine) -> float | None:
    """See :func:`likeness_of_people`; None also where memory does not suffice: the training itself is done."""
    try:
        return likeness_of_people(task.image_encoder, inputs.clip.spec, inputs.data, parameters.evaluate, device=device)
    except WorkError as error:
        engine.tell(f"warning: how alike the features of different people are was not measured: {error}")
        return None


def _write(
    parameters: Parameters,
    out: Path,
    inputs: Inputs,
    task: EncoderTask,
    trained: TrainingRun,
    summary: dict[str, Any],
    likeness: float | None,
    device: str,
    ranks: Ranks,
) -> None:
    counts = {
        "images": len(inputs.data.rows),
        "identities": len(inputs.data.identities),
        "images_dropped": inputs.data.dropped,
        "images_without_clothes": int((~inputs.data.has_clothes).sum()),
        "images_without_clothes_class": inputs.prompts.config["images_without_clothes_class"],
        "clothes_classes": inputs.prompts.config["clothes_classes"],
    }
    config = {
        **inputs.made_of,
        **summary,
        "dataset": inputs.data.reader.metadata.dataset,
        "clothes_source": inputs.prompts.config["clothes_source"],
        "images": counts["images"],
        "identities": counts["identities"],
    }
    files = {
        CURVES_NAME: curves_as_csv(trained.curves),
        RECORD_NAME: record_text(
            recorded("encoder", parameters),
            inputs.made_of,
            counts,
            device,
            ranks.world,
            compiled=any(map(is_compiled, image_encoders(task))),
            mean_cosine=likeness,
        ),
    }
    if trained.validations:
        files[VALIDATIONS_NAME] = validations_as_csv(trained.validations)

    def add_best(folder: Path) -> None:
        if trained.best_weights is not None:
            save_checkpoint(folder / BEST_FOLDER, "encoder", trained.best_weights, config)

    save_checkpoint(out, "encoder", task.state_dict(), config, files=files, add=add_best)
    settings = parameters.encoder
    write_timings(out, trained, settings.identities_per_batch * settings.images_per_identity, device)


def _worker(config: Mapping[str, Any], ranks: Ranks, device: str, report: WorkerReport) -> None:
    """Stage 2 in one of several workers."""
    with suppress(OSError):  # paths in the parameters may be relative to where the command was given
        os.chdir(config["folder"])
    given = Parameters.model_validate(config["parameters"])
    parameters = settled(given, device, ranks.world)
    advised = parameters.model_copy(update={"encoder": given.encoder})
    places = Places(*(Path(config[name]) for name in ("shards", "prompts", "out")))
    with training_arithmetic(parameters, device):
        with fitting_encoder(advised, device, ranks.world):
            inputs = read_inputs(parameters, Console(quiet=True), places, device)
        with fitting_encoder(advised, device, ranks.world, inputs.clip.image_encoder):
            report.result(_train(parameters, Console(quiet=True), places, inputs, device, ranks, report))


def check_cluster(parameters: Parameters, out: Path, cluster: Cluster) -> None:
    """Check, before anything is computed, that stage 2 can run in several workers; it takes seconds.

    Raises:
        InputError: The cluster does not answer or is too small, or ``device`` names one GPU.
    """
    check_plan(_plan_workers(parameters, out, cluster, name=""))


def _plan_workers(parameters: Parameters, out: Path, cluster: Cluster, name: str) -> WorkerPlan:
    if ":" in parameters.device:
        raise InputError(
            f"device {parameters.device} is one device, but with --workers each worker gets a GPU of its own: "
            f"use device=cuda"
        )
    return WorkerPlan(
        workers=cluster.workers,
        folder=state_folder(out.resolve()),
        name=name,
        address=cluster.address,
        gpu=None if parameters.device == "auto" else parameters.device.startswith("cuda"),
        threads=parameters.threads,
        max_failures=parameters.training.max_failures,
        modules=(str(Path(stages.__file__).parent),),
    )


def _train_with_workers(
    parameters: Parameters, console: Console, places: Places, inputs: Inputs, cluster: Cluster
) -> dict[str, Any]:
    """Train in several workers, which read the same inputs once more."""
    identities = parameters.encoder.of_all(cluster.workers).identities_per_batch
    if identities % cluster.workers:
        raise InputError(
            f"encoder.identities_per_batch = {identities} cannot be divided among --workers {cluster.workers}"
        )
    absolute = {name: str(getattr(places, name).resolve()) for name in ("shards", "prompts", "out")}
    # the workers alone know their device
    named = {**inputs.made_of, **dict.fromkeys(unusual_on_cuda(parameters), True)}
    if parameters.training.precision == "auto":
        named["precision"] = "auto"
    plan = _plan_workers(parameters, places.out, cluster, sha256_of_value(named)[:16])
    config = {"parameters": parameters.model_dump(mode="json"), "folder": str(Path.cwd()), **absolute}
    return run_workers(_worker, config, plan, what="encoder", tell=console.say, quiet=console.quiet)


def run(
    parameters: Parameters,
    console: Console,
    shards: Path,
    prompts_folder: Path,
    out: Path,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Train the encoders and write their checkpoint; returns a summary.

    Raises:
        InputError: The shards, the prompts, the model or a parameter is wrong, or a state is of another training.
        WorkError: The loss is not finite, memory does not suffice, or workers died too often.
    """
    places = Places(shards, prompts_folder, out)
    set_threads(parameters.threads)
    with training_arithmetic(parameters, parameters.device):  # a local Ray's workers inherit its environment
        device = choose_device(parameters.device) if cluster is None else "cpu"
        if cluster is None:
            parameters = settled(parameters, device)
            inputs = read_inputs(parameters, console, places, device)
            with fitting_encoder(parameters, device, encoder=inputs.clip.image_encoder):
                summary = _train(parameters, console, places, inputs, device)
        else:
            batch = {"encoder": parameters.encoder.of_all(cluster.workers)}
            inputs = read_inputs(parameters.model_copy(update=batch), console, places, device)
            summary = _train_with_workers(parameters, console, places, inputs, cluster)
    forget_progress(state_folder(out))
    console.say(f"encoder trained for {summary['epochs']} epochs, loss {summary['loss']:.3f} -> {out}")
    return {**summary, "out": str(out)}
