"""What is said of a run as soon as it is finished."""

from pipeline.studies.rows import Plan
from pipeline.studies.study import Study
from pipeline.studies.table import METRICS, order_protocols, read_protocols


def describe_run(study: Study, plan: Plan, metrics: str) -> str:
    """A line about a finished run, such as ``ccaf, seed 0: cc Rank-1 26.2, mAP 33.0``.

    Args:
        study: As it is run; its first protocol is shown.
        plan: Of the study.
        metrics: The run's step of metrics.

    Raises:
        InputError: The metrics are missing or of another form.
    """
    row, seed = plan.runs[metrics]
    protocols = read_protocols(plan.steps[metrics].out)
    protocol, *_ = order_protocols(list(protocols), study.protocols)
    figures = ", ".join(f"{title} {protocols[protocol][name]:.1f}" for name, title in METRICS.items())
    return f"{row.name}, seed {seed}: {protocol} {figures}"
