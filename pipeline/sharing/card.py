"""The model card of an encoder: what it is, what made it, what was measured, and what it must not be used for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError, one_line
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.clip import ClipSpec
from pipeline.reporting.numbers import Figure, Metrics
from pipeline.shards.record import Record

_LICENCE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
_TAGS: Final = ("person-re-identification", "cloth-changing", "image-feature-extraction", "open_clip", "ccaf")
_USE: Final = """\
Research on telling people apart across cameras while they change clothes, on images whose use for that is allowed:
comparing methods, measuring what features depend on, searching a gallery that one may search."""
_NOT_USE: Final = (
    "Identifying, following or profiling people who have not agreed to it, or where the law does not allow it.",
    "Decisions about a person: a high similarity is no proof of identity, and the numbers above are averages.",
    "Judging character, origin, health or feelings: nothing of the kind was trained or measured.",
)
_LIMITS: Final = (
    "It was trained on the data set above alone. Other cameras, places and people lower the numbers, often much.",
    "Who is in the training images is not known to be balanced by age, sex or origin; errors may differ by group.",
    "Features still tell of clothes, of the camera and of the background; `ccaf-pipeline leakage` measures how much.",
    "Crops of one person each are expected, at the size above; several people in one crop are not told apart.",
)


@dataclass(frozen=True)
class CardSources:
    """What a card is made from.

    Attributes:
        checkpoint: The encoder.
        licence: Of the weights, as an SPDX name.
        metrics: Of this encoder; None: there are none.
        facts: Of the data set that it was trained on; None: it is not known here.
        shards: Record of the shards that it was trained on; None: they are not here.
    """

    checkpoint: Checkpoint
    licence: str
    metrics: Metrics | None = None
    facts: DatasetFacts | None = None
    shards: Record | None = None


def check_sources(sources: CardSources) -> None:
    """Refuse a card whose parts are not of one another, or that names no licence.

    Raises:
        InputError: The metrics are of other weights, the shards are others, or the licence is no identifier.
    """
    if not _LICENCE.fullmatch(sources.licence):
        raise InputError(
            f"--licence {one_line(sources.licence)}: give the hub's identifier of a licence, such as apache-2.0, "
            "cc-by-nc-4.0 or other"
        )
    config = sources.checkpoint.config
    metrics, shards = sources.metrics, sources.shards
    if metrics is not None and metrics.config.get("checkpoint_sha256") != sources.checkpoint.sha256:
        raise InputError(
            f"{metrics.path} is of other weights than {sources.checkpoint.folder}: run `ccaf-pipeline extract "
            "--score`, or name the right file by --metrics"
        )
    if shards is not None and config.get("shards_sha256") not in (None, shards.sha256):
        raise InputError("the shards are not those that the encoder was trained on: name the right ones by --shards")


def _cell(value: Any) -> str:
    """A value inside a table or a sentence: one line, no mark of the page's own."""
    text = one_line(value)
    for mark in ("\\", "`", "|", "<", ">", "[", "]", "*", "_", "#"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _number(figure: Figure) -> str:
    interval = "" if figure.low is None or figure.high is None else f" [{figure.low:.1f}, {figure.high:.1f}]"
    spread = "" if figure.spread is None else f" ± {figure.spread:.1f}"
    return f"{figure.value:.1f}{interval}{spread}"


def _numbers(sources: CardSources) -> list[str]:
    metrics = sources.metrics
    if metrics is None:
        return ["None came with the weights."]
    resamples = metrics.config.get("bootstrap")
    intervals = f", with 95% intervals from {resamples:,} resamples of the query identities" if resamples else ""
    rows = [
        f"| {_cell(score.name)} | {score.n_query:,} | {score.n_gallery:,} | {_number(score.figures['rank1'])} "
        f"| {_number(score.figures['mAP'])} |"
        for score in metrics.scores
    ]
    warnings = [f"- {_cell(warning)}" for warning in metrics.config.get("warnings") or ()]
    return [
        f"In percent{intervals}, on {_cell(metrics.config.get('dataset') or 'a data set that is not named')}.",
        "",
        "| protocol | queries | gallery | Rank-1 | mAP |",
        "|---|---|---|---|---|",
        *rows,
        *(["", "Evaluation warned:", "", *warnings] if warnings else []),
    ]


def _facts(sources: CardSources) -> list[str]:
    config, spec = sources.checkpoint.config, ClipSpec.from_dict(sources.checkpoint.field("model"))
    height, width = spec.image_size
    facts, shards = sources.facts, sources.shards
    lines: dict[str, Any] = {
        "network": f"{spec.name}, stem {spec.stem}, grid {spec.grid[0]} x {spec.grid[1]}",
        "input": f"RGB crops of {height} x {width} pixels (height x width)",
        "data set": facts.title if facts else config.get("dataset", "not recorded"),
        "method": config.get("method", "not recorded"),
        "epochs": config.get("epochs", "not recorded"),
        "seed": config.get("seed", "not recorded"),
        "training images, identities": f"{config.get('images', '?')}, {config.get('identities', '?')}",
        "parser": shards.parameters.get("parser", "not recorded") if shards else "not recorded",
        "code": f"ccaf-pipeline {config.get('version', 'of a version that is not recorded')}",
        "weights, SHA-256": sources.checkpoint.sha256,
    }
    if blend := config.get("blend"):
        lines["blended with its CLIP"] = (
            f"share of the trained weights {blend['trained_share']:g}, weight of the CLIP's own features "
            f"{blend['clip_weight']:g}"
        )
    if facts is not None:
        lines |= {"home of the data set": facts.home, "terms of the data set": facts.terms}
    for key, name in (("clip_sha256", "CLIP that it began with, SHA-256"), ("shards_sha256", "shards, SHA-256")):
        if config.get(key):
            lines[name] = config[key]
    return ["| what | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in lines.items())]


def _header(sources: CardSources) -> str:
    config = sources.checkpoint.config
    fields: Mapping[str, Any] = {
        "license": sources.licence,
        "library_name": "ccaf-pipeline",
        "pipeline_tag": "image-feature-extraction",
        "tags": list(_TAGS),
        "datasets": [str(config["dataset"])] if "dataset" in config else [],
    }
    return yaml.safe_dump({key: value for key, value in fields.items() if value}, sort_keys=False)


def make_card(sources: CardSources, repository: str) -> str:
    """The card as Markdown with the hub's header.

    Args:
        sources: What it is made from.
        repository: ``owner/name`` that it is for.

    Raises:
        InputError: See :func:`check_sources`.
    """
    check_sources(sources)
    terms = sources.facts.terms if sources.facts else "see its home page"
    lines = [
        f"# {repository}",
        "",
        "An image encoder for cloth-changing person re-identification, trained with ccaf-pipeline, the program of",
        "[CCAF](https://arxiv.org/abs/2406.09198). It turns a crop of a person into a feature; features of one",
        "person are to be alike in whatever clothes.",
        "",
        "## Numbers",
        "",
        *_numbers(sources),
        "",
        "## What made it",
        "",
        *_facts(sources),
        "",
        "## How to use it",
        "",
        "```sh",
        f"ccaf-pipeline pull {repository} --out encoder",
        "```",
        "",
        "```python",
        "import pipeline  # pip install 'ccaf-pipeline[hub]'",
        "",
        f'encoder = pipeline.load_encoder("{repository}", revision="main")  # better: a commit, which never changes',
        'features = encoder.embed(["one.jpg", "two.jpg"])  # float32, one row an image, each of length 1',
        "similarity = features @ features.T  # cosines",
        "```",
        "",
        "## Intended use",
        "",
        _USE,
        "",
        "## What it must not be used for",
        "",
        *(f"- {line}" for line in _NOT_USE),
        "",
        "## Limits",
        "",
        *(f"- {line}" for line in _LIMITS),
        "",
        "## Licence",
        "",
        f"The weights: {_cell(sources.licence)}. The terms of the data set that they were trained on hold besides",
        f"({_cell(terms)}), and so do those of the CLIP that training began with.",
    ]
    return f"---\n{_header(sources)}---\n" + "\n".join(lines) + "\n"
