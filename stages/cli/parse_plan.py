"""``ccaf-pipeline parse --plan``: what a run would do, shown before anything is started."""

from dataclasses import asdict

import pyarrow as pa

from pipeline.location import Location
from pipeline.ray_session import local_resources
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.estimate import RunEstimate, estimate_run
from pipeline.shards.making.folder import bound_fingerprint
from pipeline.shards.making.placement import Placement, choose_workers
from pipeline.shards.making.plan import check_image_ids, plan_shards
from pipeline.shards.making.run import RunSettings, least_cpus
from pipeline.shards.making.settings import ShardSettings
from pipeline.shards.making.worker import check_parser_device, identify
from pipeline.shards.schema import SHARD_PATTERN
from pipeline.storage import list_names
from stages.console import Console

OTHER_CONTENT = "of other content, which only --overwrite replaces, are"


def show_plan(
    console: Console, name: str, table: pa.Table, settings: ShardSettings, run: RunSettings, out: Location
) -> None:
    """Resolve all that a run would resolve first, and show it; Ray is not started.

    Raises:
        InputError: Parser, its settings, labels, device or manifest are wrong.
    """
    check_image_ids(table)
    parser = identify(settings)  # kept: its memory is part of the estimate
    content, provenance = bind_content(name, table, settings, parser)
    placement = _place(table.num_rows, settings, run)
    estimate = estimate_run(table.num_rows, settings, run, placement)
    if placement is not None:
        device = placement.device
    else:
        device = f"{run.device}, decided by the cluster at {run.address}" if run.device == "auto" else run.device
    present = len(list_names(out, SHARD_PATTERN))
    bound = bound_fingerprint(out) if present else None
    matches = bound == provenance.fingerprint
    clothes = ", ".join(provenance.clothes_labels)
    weights = f"weights {provenance.weights_sha256[:12]}" if provenance.weights_sha256 else "no weights"
    console.result(
        {
            **asdict(estimate),
            "out": str(out),
            "present": present,
            "present_match": matches if present else None,
            "device": device,
            "gpus_per_worker": placement.gpus if placement is not None else None,
            "parser": settings.parser,
            "weights_sha256": provenance.weights_sha256,
            "label_scheme": provenance.label_scheme,
            "clothes_labels": list(provenance.clothes_labels),
            "fingerprint": provenance.fingerprint,
            "parameters": content,
        },
        "\n".join(
            [
                f"images    {estimate.images:,} of {name}",
                f"parser    {settings.parser}, {weights}, on {device}",
                f"labels    {provenance.label_scheme}; clothes are {clothes}",
                f"shards    {estimate.shards:,} of {estimate.smallest} to {estimate.largest} images, in {out}"
                + (f" ({present} {'are' if matches else OTHER_CONTENT} there already)" if present else ""),
                f"workers   {_workers(estimate, run, placement)}, {run.threads} thread(s) each, "
                f"batches of {run.work.batch_size}",
                f"memory    about {estimate.megabytes_per_worker:,} MB a worker for images of 256 x 128 pixels"
                + (f", {estimate.workers * estimate.megabytes_per_worker:,} MB in all" if estimate.workers else ""),
            ]
        ),
    )
    console.say("nothing was done (--plan)")


def _place(images: int, settings: ShardSettings, run: RunSettings) -> Placement | None:
    """Where the workers of a run on this machine would be, decided as the run itself does; None: a cluster decides."""
    if run.address is not None:
        return None
    shards = len(plan_shards(images, settings.shard_rows, settings.row_group_rows))
    placement = choose_workers(local_resources(least_cpus(run)), run, shards)
    check_parser_device(settings, placement.device)
    return placement


def _workers(estimate: RunEstimate, run: RunSettings, placement: Placement | None) -> str:
    """Number of workers, and where it comes from."""
    if estimate.workers is None:
        return "as many as the cluster has room for"
    if run.workers:
        most = placement.most if placement is not None else run.most_workers
        return f"{estimate.workers}{f', growing to {most}' if most else ''} (as asked)"
    if placement is None or placement.device == "cpu":
        return f"{estimate.workers} (by the CPUs of this machine)"
    if placement.device != "cuda":
        return f"{estimate.workers} (by the device {placement.device})"
    chosen = "" if run.work.gpus_per_worker else ": by CPUs and memory"
    return f"{estimate.workers} (by the GPUs of this machine, {placement.gpus:g} GPU each{chosen})"
