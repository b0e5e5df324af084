"""``ccaf-pipeline parse --plan``: what a run would do, shown before anything is started."""

from dataclasses import asdict

import pyarrow as pa

from pipeline.device import choose_device
from pipeline.location import Location
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.estimate import estimate_run
from pipeline.shards.making.folder import bound_fingerprint
from pipeline.shards.making.plan import ParseSettings, check_image_ids
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.worker import build_parser
from pipeline.shards.schema import SHARD_PATTERN
from pipeline.storage import list_names
from stages.console import Console

OTHER_CONTENT = "of other content, which only --overwrite replaces, are"


def show_plan(
    console: Console, name: str, table: pa.Table, settings: ParseSettings, run: RunSettings, out: Location
) -> None:
    """Resolve all that a run would resolve first, and show it; Ray is not started.

    Raises:
        InputError: Parser, its settings, labels, device or manifest are wrong.
    """
    check_image_ids(table)
    content, provenance = bind_content(name, table, settings, build_parser(settings, "cpu"))
    estimate = estimate_run(table.num_rows, settings, run)
    if run.address is None:
        device = choose_device(run.device)
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
            "device": str(device),
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
                f"workers   {estimate.workers} ({'as asked' if run.workers else 'by the CPUs of this machine'}), "
                f"{run.threads} thread(s) each, batches of {run.batch_size}",
                f"memory    about {estimate.megabytes_per_worker:,} MB a worker for images of 256 x 128 pixels, "
                f"{estimate.workers * estimate.megabytes_per_worker:,} MB in all",
            ]
        ),
    )
    console.say("nothing was done (--plan)")
