"""From the artifacts of a data set to the parts of its page."""

from collections.abc import Collection
from pathlib import Path

from pipeline.features.feature_set import FeatureSet
from pipeline.reporting.numbers import METRICS, Absent, Metrics, make_numbers
from pipeline.reporting.origin import (
    Inputs,
    check_data_set,
    check_runs,
    clothes_sentence,
    mismatches,
    provenance,
    what_ran,
)
from pipeline.reporting.overview import make_overview
from pipeline.reporting.page import Curves, Page, Recipe, Tile
from pipeline.reporting.ranked import RankedGalleries, choose_protocol, make_galleries, rank_queries, read_per_query
from pipeline.reporting.runs import Run, make_panels
from pipeline.reporting.settings import ReportSettings
from pipeline.reporting.sheets import make_sheet
from pipeline.reporting.wording import ENCODER_CURVES, PROMPT_CURVES

HEADLINES = ("rank1", "mAP")


def _tiles(inputs: Inputs, protocol: str, people: int) -> tuple[Tile, ...]:
    """Headline metrics of one protocol, then what the data are."""
    trained = next(score for score in inputs.metrics.scores if score.name == protocol)
    others = inputs.frozen.scores if isinstance(inputs.frozen, Metrics) else ()
    frozen = next((score for score in others if score.name == protocol), None)
    tiles = []
    for key in HEADLINES:
        figure = trained.figures[key]
        more = "" if figure.low is None else f"95\u00a0% interval {figure.low:.1f}–{figure.high:.1f}"
        if frozen:
            more = f"frozen {frozen.figures[key].value:.1f}\u00a0%"
        tiles.append(Tile(f"{METRICS[key]}, {protocol}", f"{figure.value:.1f}\u00a0%", more))
    images, bad = len(inputs.reader), inputs.reader.record.counts["quarantined"]
    return (
        *tiles,
        Tile("Images", f"{images:,}", f"{bad:,} could not be used"),
        Tile("Identities", f"{people:,}", f"{len(inputs.reader.splits)} splits"),
    )


def _encoder_note(encoder: Run | Absent) -> str:
    if not isinstance(encoder, Run):
        return ""
    terms = encoder.config.get("terms") or {}
    weights = [f"{name} × {weight:g}" for name, weight in terms.items() if weight != 1]
    if terms and not weights:
        return "Every term has weight 1 in the total."
    return f"Weights in the total: {', '.join(weights)}; the others × 1." if weights else ""


def _curves(prompts: Run | Absent, encoder: Run | Absent) -> tuple[Curves, ...]:
    return (
        Curves(
            "Stage 1: prompts",
            "The encoders are frozen; only the prompts' tokens are learned.",
            make_panels(prompts, PROMPT_CURVES) if isinstance(prompts, Run) else prompts,
        ),
        Curves(
            "Stage 2: encoder",
            _encoder_note(encoder),
            make_panels(encoder, ENCODER_CURVES) if isinstance(encoder, Run) else encoder,
        ),
    )


def _clothes(inputs: Inputs) -> tuple[str, ...]:
    sentences = [clothes_sentence(inputs.prompts)]
    if isinstance(inputs.encoder, Run):
        state = "on" if inputs.encoder.config["clothes_feature_minimisation"] else "off"
        sentences.append(f"Clothes feature minimisation was {state} in stage 2.")
    return tuple(sentences)


def make_page(
    inputs: Inputs,
    ranking: FeatureSet | Path | Absent,
    *,
    title: str,
    version: str,
    recipe: Recipe,
    no_person_ids: Collection[int] = (),
    settings: ReportSettings,
    seed: int = 0,
) -> Page:
    """Make every part of a page.

    Args:
        inputs: What was read.
        ranking: For the ranked galleries: features of queries and gallery, or the table of evaluate --per-query.
        title: Name of the data set for people.
        version: Of this program.
        recipe: How to make the artifacts again.
        no_person_ids: Person ids that stand for nobody.
        settings: How much is shown.
        seed: Decides what is drawn.

    Raises:
        InputError: The inputs are of different data sets, or one of them is damaged.
    """
    check_data_set(inputs)
    check_runs(inputs)
    protocol = choose_protocol([score.name for score in inputs.metrics.scores])
    overview = make_overview(inputs.reader, no_person_ids)
    ranked: RankedGalleries | Absent
    if isinstance(ranking, Absent):
        ranked = ranking
    elif protocol is None:
        ranked = Absent("Every protocol of the metrics ranks several galleries.", "ccaf-pipeline evaluate")
    else:
        if isinstance(ranking, Path):
            results = read_per_query(ranking, protocol.name, settings.ranked_depth)
        else:
            results = rank_queries(ranking, protocol, settings.ranked_depth)
        ranked = make_galleries(inputs.reader, results, protocol, settings.ranked_queries, seed)
    headline = protocol.name if protocol else inputs.metrics.scores[0].name
    return Page(
        title=title,
        version=version,
        warnings=mismatches(inputs),
        tiles=_tiles(inputs, headline, overview.splits[-1].identities),
        ran=what_ran(inputs),
        numbers=make_numbers(inputs.metrics, inputs.frozen),
        curves=_curves(inputs.prompts, inputs.encoder),
        overview=overview,
        clothes=_clothes(inputs),
        sheet=make_sheet(inputs.reader, settings.sheet_images, seed),
        ranked=ranked,
        origin=provenance(inputs, version),
        recipe=recipe,
    )
