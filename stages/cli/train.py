"""``ccaf-pipeline train``: stage 1 (prompts), stage 2 (encoder), or both."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.errors import InputError
from stages.cli.options import Context, shared_options


class Stage(StrEnum):
    """Which part of the training to run."""

    PROMPTS = "prompts"
    ENCODER = "encoder"
    ALL = "all"


@shared_options("dataset", "shards", "seed", "address")
def command(
    context: Context,
    stage: Annotated[Stage, typer.Option("--stage", help="prompts (stage 1), encoder (stage 2), or both.")] = Stage.ALL,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="Prompts checkpoint, written or read. Default: artifacts/<data set>/prompts."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Encoder checkpoint. Default: artifacts/<data set>/encoder.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=1, help="Processes for stage 2, by Ray Train; each takes a GPU where there are any."
        ),
    ] = 1,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard what an interrupted training of these stages left behind.")
    ] = False,
) -> None:
    """Learn prompts on shielding and clothes images (stage 1), then train the encoders against them (stage 2).

    Interrupted training goes on from its last state when the same command is run again, and ends as if it had not been
    interrupted. Stage 1 uses one process.
    """
    from pipeline.ray_address import Cluster
    from pipeline.trainer.epochs import has_state
    from pipeline.training.preflight import Obstacles
    from pipeline.training.run_record import state_folder
    from stages import encoder_run as encoder_recipe
    from stages import prompts as prompts_recipe
    from stages.preflight import check_shards

    if stage is Stage.PROMPTS and context.address is not None:
        raise InputError(f"--address {context.address}: stage 1 runs in this process, not on a cluster; leave it out")
    workspace = context.workspace
    prompts_words = [] if prompts is None else ["--prompts", str(prompts)]
    checkpoint_words = [] if out is None else ["--checkpoint", str(out)]
    shards = context.shards or workspace.shards
    prompts = prompts or workspace.prompts
    out = out or workspace.encoder
    result: dict[str, Any] = {}
    cluster = None
    if stage is not Stage.PROMPTS and (workers > 1 or context.address is not None):
        cluster = Cluster(workers, context.cluster_address)
    with _held(stage, prompts, out):
        obstacles = check_shards(context.parameters, shards, workers)
        for sentence in obstacles.evaluation:
            context.console.say(f"warning: ccaf-pipeline evaluate will be refused: {sentence}")
        Obstacles(obstacles.training, ()).refuse()
        _prepare(stage, prompts, out, restart)
        if cluster is not None:
            encoder_recipe.check_cluster(context.parameters, out, cluster)
        if stage in (Stage.PROMPTS, Stage.ALL):
            going_on = stage is Stage.ALL and has_state(state_folder(out))
            result["prompts"] = prompts_recipe.run(context.parameters, context.console, shards, prompts, keep=going_on)
        if stage in (Stage.ENCODER, Stage.ALL):
            result["encoder"] = encoder_recipe.run(context.parameters, context.console, shards, prompts, out, cluster)
    context.console.result(
        result, "\n".join(f"{name}: loss {part['loss']:.4f}, {part['out']}" for name, part in result.items())
    )
    if stage is Stage.PROMPTS:
        context.say_next("train", "--stage", "encoder", *context.shards_words, *prompts_words)
    else:
        context.say_next("extract", *context.shards_words, *checkpoint_words)


@contextmanager
def _held(stage: Stage, prompts: Path, out: Path) -> Iterator[None]:
    """Keep other runs away from what this one writes, and from changing the prompts that it reads.

    Raises:
        InputError: Another run has one of them, or one cannot be written.
    """
    from pipeline.locks import hold
    from pipeline.outputs import check_writable

    if prompts.resolve() == out.resolve():
        raise InputError(f"--prompts and --out are both {out}: give each checkpoint a place of its own")
    with ExitStack() as stack:
        if stage is not Stage.ENCODER:
            check_writable(prompts)
        stack.enter_context(hold(prompts, shared=stage is Stage.ENCODER))
        if stage is not Stage.PROMPTS:
            check_writable(out)
            stack.enter_context(hold(out))
        yield


def _prepare(stage: Stage, prompts: Path, out: Path, restart: bool) -> None:
    """Refuse places that hold other things before any work is done; with ``restart`` forget unfinished trainings."""
    from pipeline.models.checkpoint import check_replaceable
    from pipeline.outputs import check_output
    from pipeline.trainer.epochs import check_progress, forget_progress
    from pipeline.training.run_record import state_folder, timings_place

    for part, folder in ((Stage.PROMPTS, prompts), (Stage.ENCODER, out)):
        if stage in (part, Stage.ALL):
            check_replaceable(folder, part.value)
            if restart:
                forget_progress(state_folder(folder))
            check_progress(state_folder(folder))
            check_output(timings_place(folder), "json", ["milliseconds_per_step"])
