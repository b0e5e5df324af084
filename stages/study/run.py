"""Runs the steps of a study on Ray: as many at once as there is room for, each in a process that is used again."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import stages
from pipeline.config.deciding import Kind
from pipeline.errors import InputError
from pipeline.locks import hold
from pipeline.ray_session import Resources, check_alive, check_reachable, ray_session
from pipeline.studies.progress import StudyProgress
from pipeline.studies.rows import Plan
from pipeline.studies.schedule import Schedule
from pipeline.studies.steps import Step
from stages.console import Console
from stages.study.work import Outcome, Task, do_task, identify

POLL_SECONDS = 1.0
CRASHES = 2
"""How often the process of a step may die before the step has failed."""
LOCK_NAME, STATES_NAME = ".lock", ".states"

_ON_GPU: frozenset[Kind] = frozenset({"clip", "prompts", "encoder", "features"})


@dataclass(frozen=True)
class Machines:
    """Where the steps run.

    Attributes:
        address: Of a Ray cluster; None: a local one.
        workers: Steps at once; 0: as many as there is room for.
        gpus_per_run: GPUs, or the share of one, that a step takes where there are any.
        any_code: Whether steps count as finished that another version of the program made.
    """

    address: str | None = None
    workers: int = 0
    gpus_per_run: float = 1.0
    any_code: bool = False


@contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Keep a second command away from the same folder.

    Raises:
        InputError: One is at work there, or nothing can be written there.
    """
    with hold(folder, lock=folder / LOCK_NAME, advice="wait for it, or give another --out"):
        yield


@dataclass
class _Slots:
    """Room for steps: on CPUs, and on GPUs where there are any."""

    cpu: int
    gpu: int
    taken: dict[str, str] = field(default_factory=dict)

    def pool_of(self, step: Step) -> str:
        return "gpu" if self.gpu and step.kind in _ON_GPU else "cpu"

    def room_of(self, step: Step) -> tuple[str, int]:
        """Which slots a step takes one of, and how many there are of these."""
        pool = self.pool_of(step)
        return pool, self.gpu if pool == "gpu" else self.cpu

    def fits(self, step: Step) -> bool:
        pool, limit = self.room_of(step)
        return sum(name == pool for name in self.taken.values()) < limit

    def take(self, step: Step) -> None:
        self.taken[step.name] = self.pool_of(step)

    def free(self, step: Step) -> None:
        del self.taken[step.name]


def _find_slots(resources: Resources, machines: Machines, threads: int, device: str) -> _Slots:
    """Room for steps.

    Raises:
        InputError: A GPU is asked for and there is none, or no machine has the CPUs of a step.
    """
    use_gpu = device.startswith("cuda") or (device == "auto" and resources.gpus > 0)
    if use_gpu and resources.gpus < machines.gpus_per_run:
        raise InputError(f"a run takes {machines.gpus_per_run:g} GPUs (--gpus-per-run), Ray finds {resources.gpus:g}")
    if resources.node_cpus < threads:
        raise InputError(f"threads = {threads}, but the largest machine has {resources.node_cpus} CPUs")
    cpu = max(1, resources.cpus // threads)
    gpu = math.floor(resources.gpus / machines.gpus_per_run + 1e-9) if use_gpu else 0
    if machines.workers:
        cpu, gpu = min(cpu, machines.workers), min(gpu, machines.workers)
    return _Slots(cpu, gpu)


def _with_threads(step: Step, threads: int, machines: Machines) -> Step:
    """The step as it runs beside others."""
    changes: dict[str, Any] = {"threads": threads}
    if step.kind == "shards" and step.of_rendered:
        parse = step.parameters.parse
        changes["parse"] = parse.model_copy(update={"gpus_per_worker": machines.gpus_per_run})
    return replace(step, parameters=step.parameters.model_copy(update=changes))


def _demand(step: Step, slots: _Slots, threads: int, machines: Machines) -> dict[str, float]:
    """What a step takes from Ray; parsing has workers of its own, which do."""
    if step.kind == "shards":
        return {"num_cpus": 0}
    return {"num_cpus": threads, "num_gpus": machines.gpus_per_run if slots.pool_of(step) == "gpu" else 0}


def run_plan(
    plan: Plan, machines: Machines, console: Console, on_run: Callable[[Schedule, str], str] | None = None
) -> Schedule:
    """Do what is missing of a plan; returns how it stands at the end.

    Args:
        plan: What is to be done.
        machines: Where.
        console: Where progress is shown.
        on_run: Called as soon as the metrics of a run are there, with how the work stands and the name of their step;
            returns what is said about it.

    Raises:
        InputError: The cluster does not answer, or is too small.
        KeyboardInterrupt: It was interrupted; finished steps are kept.
    """
    schedule = Schedule(plan.steps, plan.folder, identify, machines.any_code, turns=plan.turns)
    if schedule.reused:
        console.say(f"{len(schedule.reused)} of {len(plan.steps)} steps are finished already")
    if schedule.outdated:
        console.say(
            "steps that another version of the program finished are made again, and what follows if they differ "
            "(--any-code takes them as they are)"
        )
    if schedule.over:
        return schedule
    check_reachable(machines.address)
    threads = plan.parameters.threads or 1
    cpus = max(1, machines.workers) * threads
    modules = (str(Path(stages.__file__).parent),)
    with (
        StudyProgress(schedule, plan, quiet=console.quiet) as progress,
        ray_session(machines.address, cpus, modules) as resources,
    ):
        slots = _find_slots(resources, machines, threads, plan.parameters.device)
        schedule.slots = slots.gpu or slots.cpu
        progress.begin(slots.room_of)

        def finished(step: Step) -> None:
            if on_run is not None and step.name in plan.runs:
                progress.say(on_run(schedule, step.name))

        _work(schedule, slots, threads, machines, progress, finished)
    return schedule


def _work(
    schedule: Schedule,
    slots: _Slots,
    threads: int,
    machines: Machines,
    progress: StudyProgress,
    finished: Callable[[Step], None],
) -> None:
    import ray

    remote = ray.remote(do_task)
    running: dict[Any, Step] = {}
    folder = Path.cwd()
    try:
        while not schedule.over:
            while (step := schedule.take(slots.fits)) is not None:
                slots.take(step)
                task = Task(
                    _with_threads(step, threads, machines),
                    schedule.inputs_of(step),
                    schedule.folder / f"{step.name}.log",
                    schedule.folder / STATES_NAME / step.name,
                    folder,
                )
                options = {**_demand(step, slots, threads, machines), "max_retries": CRASHES}
                running[remote.options(**options).remote(task)] = step
            done, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            if not done:
                check_alive()
            for ref in done:
                step = running.pop(ref)
                slots.free(step)
                outcome = _outcome(ref, step)
                if outcome.output is None:
                    schedule.fail(step, f"{step.name}: {outcome.error}")
                else:
                    schedule.finish(step, outcome.output, outcome.seconds)
                    finished(step)
            progress.show()
    except BaseException:
        for ref in running:
            ray.cancel(ref, force=True)
        raise


def _outcome(ref: Any, step: Step) -> Outcome:
    import ray

    try:
        found = ray.get(ref)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        return Outcome(None, 0.0, f"its process died again and again ({reason})")
    assert isinstance(found, Outcome)
    return found
