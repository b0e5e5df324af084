"""``ccaf-pipeline ablate``: runs a study, methods x seeds, and writes its table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import InputError
from stages.cli.options import Context, shared_options
from stages.console import Console

if TYPE_CHECKING:
    from pipeline.studies.study import Study


@shared_options("dataset", "root", "address", default_params="the study's own parameters; params.yaml is not read")
def command(
    context: Context,
    study: Annotated[
        str | None,
        typer.Option("--study", help="Study: a name in data_manifests/studies/ or a YAML file.", show_default=False),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Only list the studies with their titles.")] = False,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0,1,...", help="Seeds, in the place of the study's.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="NAME,...", help="Only these methods of the study.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The study's small form, to see that it works.")] = False,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Run the study's tuning grid on its own seeds instead, and print what is best."),
    ] = False,
    shards: Annotated[
        Path | None,
        typer.Option(
            "--shards", help="Shards of a data set that is not rendered. Default: artifacts/<data set>/shards."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the runs and the table. Default: artifacts/studies/<study>..."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Runs at once. 0: as many as there are CPUs (or room on GPUs).")
    ] = 0,
    gpus_per_run: Annotated[
        float, typer.Option("--gpus-per-run", min=0.01, help="GPUs, or the share of one, that a run takes.")
    ] = 1.0,
    any_code: Annotated[
        bool,
        typer.Option("--any-code", help="Keep finished steps although another version of the program made them."),
    ] = False,
) -> None:
    """Train every method of a study on every seed, on the same data, and write a table with paired differences.

    Walkers are rendered for each seed, and one CLIP is pre-trained on other people. On any other data set (--dataset,
    with --params) seeds vary the training only. The machines of a cluster must see the same files. Stopped or killed
    at any moment, the same command goes on; a run that fails does not stop the others. A changed parameter repeats just
    the steps that depend on it.
    """
    from pipeline.studies.reading import load_study, runs_name, study_name
    from stages.study.plan import Wanted, resolve
    from stages.study.results import make_table, make_tuning
    from stages.study.run import Machines, study_lock

    if listing:
        _list(context.console)
        return
    if study is None:
        raise InputError("name a study by --study; ccaf-pipeline ablate --list shows them")
    if tune and seeds is not None:
        raise InputError(f"--seeds {seeds}: --tune runs the grid on the seeds that the study names for it")
    chosen = _chosen(load_study(study), quick, seeds, methods)
    wanted = Wanted(context.dataset, context.root, context.params, tuple(context.overrides or ()), shards)
    resolved = resolve(study_name(study), chosen, wanted, out, quick, runs_name(study))
    machines = Machines(context.cluster_address, workers, gpus_per_run, any_code)
    with study_lock(resolved.folder):
        (make_tuning if tune else make_table)(resolved, machines, context.console)


def _chosen(study: "Study", quick: bool, seeds: str | None, methods: str | None) -> "Study":
    chosen = study.quickened() if quick else study
    if seeds is not None:
        try:
            numbers = tuple(int(text) for text in seeds.split(","))
        except ValueError:
            raise InputError(f"--seeds {seeds}: expected whole numbers with commas between, such as 0,1,2") from None
        chosen = chosen.with_seeds(numbers)
    if methods is not None:
        chosen = chosen.with_methods(tuple(name.strip() for name in methods.split(",")))
    return chosen


def _list(console: Console) -> None:
    from pipeline.studies.reading import load_study, study_names

    titles = {name: load_study(name).title for name in study_names()}
    width = max(map(len, titles), default=0)
    console.result(dict(titles), "\n".join(f"{name.ljust(width)}  {title}" for name, title in titles.items()))
