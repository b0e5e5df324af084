"""Where the parts of a page come from: what ran, with which settings and weights, and whether it belongs together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.reporting.numbers import Absent, Metrics
from pipeline.reporting.runs import Run
from pipeline.shards.reader import ShardReader

SHORT_HASH = 12
RANDOM_WEIGHTS = "random weights"


@dataclass(frozen=True)
class Fact:
    """One line of provenance; ``code`` for hashes and names of programs."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True)
class FactGroup:
    """Facts about one step."""

    title: str
    facts: tuple[Fact, ...] | Absent


@dataclass(frozen=True)
class Inputs:
    """Everything that a page is made from, as far as it is there.

    Attributes:
        reader: The shards.
        metrics: Of the trained model.
        frozen: Metrics of the CLIP before training.
        prompts: Stage 1.
        encoder: Stage 2.
        features: Metadata of the feature file.
    """

    reader: ShardReader
    metrics: Metrics
    frozen: Metrics | Absent
    prompts: Run | Absent
    encoder: Run | Absent
    features: Mapping[str, str] | Absent


def _some(count: int, noun: str) -> str:
    """A count with its noun: 1 epoch, 1,200 epochs."""
    return f"{count:,} {noun}" + ("s" if count != 1 else "")


def _or_random(digest: str) -> str:
    return digest or RANDOM_WEIGHTS


def _differ(expected: Any, found: Any) -> bool:
    """Whether two hashes are both known and differ."""
    return expected is not None and found is not None and expected != found


def check_data_set(inputs: Inputs) -> None:
    """Refuse artifacts of different data sets.

    Raises:
        InputError: One is of another data set than the shards.
    """
    name = inputs.reader.metadata.dataset
    named: list[tuple[str, Any]] = [("the metrics", inputs.metrics.config.get("dataset"))]
    if isinstance(inputs.frozen, Metrics):
        named.append(("the frozen metrics", inputs.frozen.config.get("dataset")))
    named += [
        (what, run.config.get("dataset"))
        for what, run in (("the prompts", inputs.prompts), ("the encoder", inputs.encoder))
        if isinstance(run, Run)
    ]
    if not isinstance(inputs.features, Absent):
        named.append(("the features", inputs.features.get("dataset")))
    for what, found in named:
        if _differ(name, found):
            raise InputError(
                f"{what} are of data set {found}, the shards in {inputs.reader.folder} of {name}: "
                f"name files of one data set"
            )


_READ_OF = {
    "prompts": (
        "model", "clip_sha256", "seed", "version", "images", "identities", "clothes_source", "clothes_classes",
        "images_without_clothes_class",
    ),
    "encoder": ("model", "clip_sha256", "seed", "version", "clothes_feature_minimisation"),
}  # fmt: skip
"""Fields of a checkpoint's configuration that the page shows."""


def check_runs(inputs: Inputs) -> None:
    """Refuse a checkpoint whose configuration lacks what the page shows.

    Raises:
        InputError: It does.
    """
    for kind, run in (("prompts", inputs.prompts), ("encoder", inputs.encoder)):
        missing = [] if isinstance(run, Absent) else [name for name in _READ_OF[kind] if name not in run.config]
        if missing:
            raise InputError(
                f"the configuration of the {kind} checkpoint is damaged (no {', '.join(missing)}): "
                f"run `ccaf-pipeline train`"
            )


def mismatches(inputs: Inputs) -> tuple[str, ...]:
    """Sentences about parts that were not made from one another, for the top of the page."""
    shards = inputs.reader.record_sha256
    found = []
    prompts, encoder, features = inputs.prompts, inputs.encoder, inputs.features
    if isinstance(prompts, Run) and _differ(shards, prompts.config.get("shards_sha256")):
        found.append("The prompts were learned on other shards: run `ccaf-pipeline train`.")
    if isinstance(encoder, Run) and _differ(shards, encoder.config.get("shards_sha256")):
        found.append("The encoder was trained on other shards: run `ccaf-pipeline train`.")
    if (
        isinstance(prompts, Run)
        and isinstance(encoder, Run)
        and _differ(prompts.config.get("weights_sha256"), encoder.config.get("prompts_sha256"))
    ):
        found.append("The encoder was trained with other prompts: run `ccaf-pipeline train --stage encoder`.")
    scored = inputs.metrics.config.get("checkpoint_sha256")
    if isinstance(encoder, Run) and _differ(encoder.config.get("weights_sha256"), scored):
        found.append("The metrics are of another encoder: run `ccaf-pipeline extract`, then `ccaf-pipeline evaluate`.")
    if not isinstance(features, Absent):
        if _differ(scored, features.get("checkpoint_sha256")):
            found.append("The ranked galleries are of another encoder than the metrics: run `ccaf-pipeline evaluate`.")
        if _differ(shards, features.get("shards_sha256")):
            found.append("The features were extracted from other shards: run `ccaf-pipeline extract`.")
    if (
        isinstance(inputs.frozen, Metrics)
        and isinstance(encoder, Run)
        and _differ(encoder.config.get("clip_sha256"), inputs.frozen.config.get("checkpoint_sha256"))
    ):
        found.append(
            "The frozen metrics are of another CLIP than the one that training began with: "
            "run `ccaf-pipeline extract --frozen`, then evaluate it."
        )
    found += [f"Evaluation warned: {warning}" for warning in inputs.metrics.config.get("warnings") or ()]
    return tuple(found)


def _settings(config: Mapping[str, Any], names: Iterable[tuple[str, str]]) -> list[Fact]:
    parameters = config.get("parameters") or {}
    return [Fact(label, str(parameters[key])) for key, label in names if key in parameters]


def _mask_changes(dilate: int, fill_holes: bool) -> str:
    """How the clothes mask differs from the clothes labels; empty if it does not."""
    parts = ["holes filled"] * fill_holes + [f"grown by {_some(dilate, 'pixel')}"] * (dilate > 0)
    return ", ".join(parts)


def parsing_facts(reader: ShardReader) -> tuple[Fact, ...]:
    """What made the shards."""
    made, record = reader.metadata, reader.record
    settings = ", ".join(f"{name}: {value}" for name, value in sorted(made.parser_settings.items()))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    facts = [
        Fact("parser", made.parser + (f" ({settings})" if settings else "")),
        Fact("parser's weights, sha256", made.weights_sha256 or "it has none", code=bool(made.weights_sha256)),
        Fact("labels", f"{made.label_scheme}, {len(made.labels)} labels"),
        Fact("covered as clothes", ", ".join(made.clothes_labels)),
        Fact("cover", made.fill),
        *([Fact("mask", changes)] if (changes := _mask_changes(made.dilate, made.fill_holes)) else []),
        Fact("shards", f"{_some(len(record.shards), 'file')}, {_some(len(reader), 'image')}"),
        Fact("record of the shards, sha256", record.sha256, code=True),
    ]
    return (*facts, *([Fact("versions", versions)] if versions else []))


def _prompt_facts(run: Run) -> tuple[Fact, ...]:
    config = run.config
    images = (
        [Fact("identity prompts from", f"{config['identity_images']} images")] if "identity_images" in config else []
    )
    return (
        Fact("prompts", f"{config['identities']:,} identities, {config['clothes_classes']:,} clothes classes"),
        *images,
        *_settings(config, (("tokens", "tokens a prompt"), ("similarity", "similarity"), ("epochs", "epochs"))),
        *_settings(config, (("batch_size", "batch"), ("learning_rate", "learning rate"))),
        Fact("seed", str(config["seed"])),
        Fact("version", str(config["version"])),
        Fact("checkpoint, sha256", str(config["weights_sha256"]), code=True),
    )


def _encoder_facts(run: Run) -> tuple[Fact, ...]:
    config, settings = run.config, run.config.get("parameters") or {}
    batch = f"{settings.get('identities_per_batch')} identities × {settings.get('images_per_identity')} images"
    return (
        *([Fact("method", str(config["method"]))] if "method" in config else []),
        *_settings(config, (("epochs", "epochs"),)),
        Fact("batch", batch),
        *_settings(config, (("learning_rate", "learning rate"), ("lambda_con", "λ of centre alignment"))),
        *_settings(config, (("lambda_dis", "λ of disentangling"), ("disentangle", "form of disentangling"))),
        Fact("clothes feature minimisation", "on" if config["clothes_feature_minimisation"] else "off"),
        Fact("seed", str(config["seed"])),
        Fact("version", str(config["version"])),
        Fact("checkpoint, sha256", str(config["weights_sha256"]), code=True),
    )


def _model_facts(config: Mapping[str, Any]) -> tuple[Fact, ...]:
    model, clip = config["model"], str(config["clip_sha256"])
    size, grid = model["image_size"], model["grid"]
    return (
        Fact("CLIP", str(model["name"])),
        Fact("stem", str(model["stem"])),
        Fact("input", f"{size[0]} × {size[1]} pixels (height × width), grid {grid[0]} × {grid[1]}"),
        Fact("CLIP's weights, sha256", _or_random(clip), code=bool(clip)),
    )


def _evaluation_facts(inputs: Inputs) -> tuple[Fact, ...]:
    facts = [Fact("protocols", ", ".join(score.name for score in inputs.metrics.scores))]
    if not isinstance(inputs.features, Absent) and "feature" in inputs.features:
        facts.append(Fact("feature", inputs.features["feature"]))
    resamples = inputs.metrics.config.get("bootstrap")
    if resamples:
        facts.append(Fact("intervals", f"95 %, {resamples:,} resamples of the query identities"))
    scored = inputs.metrics.config.get("checkpoint_sha256")
    return (*facts, Fact("checkpoint scored, sha256", str(scored or "not recorded"), code=bool(scored)))


def provenance(inputs: Inputs, version: str) -> tuple[FactGroup, ...]:
    """What made each part, in the order of the pipeline.

    Args:
        inputs: Of the page.
        version: Of this program.

    Raises:
        InputError: A checkpoint's configuration lacks a key.
    """
    prompts, encoder = inputs.prompts, inputs.encoder
    trained = encoder if isinstance(encoder, Run) else prompts
    try:
        return (
            FactGroup("This page", (Fact("ccaf-pipeline", version), Fact("data set", inputs.reader.metadata.dataset))),
            FactGroup("Parsing", parsing_facts(inputs.reader)),
            FactGroup("Model", _model_facts(trained.config) if isinstance(trained, Run) else trained),
            FactGroup("Stage 1, prompts", _prompt_facts(prompts) if isinstance(prompts, Run) else prompts),
            FactGroup("Stage 2, encoder", _encoder_facts(encoder) if isinstance(encoder, Run) else encoder),
            FactGroup("Evaluation", _evaluation_facts(inputs)),
        )
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"the configuration of a checkpoint is damaged ({error}): run `ccaf-pipeline train`"
        ) from error


def what_ran(inputs: Inputs) -> tuple[Fact, ...]:
    """The steps that ran, one line each."""
    reader, prompts, encoder = inputs.reader, inputs.prompts, inputs.encoder
    bad = reader.record.counts["quarantined"]
    facts = [
        Fact("parse", f"{_some(len(reader), 'image')} by parser {reader.metadata.parser}; {bad:,} could not be used")
    ]
    if isinstance(prompts, Run):
        config = prompts.config
        facts.append(
            Fact(
                "train, stage 1",
                f"{config['identities']:,} identity and {config['clothes_classes']:,} clothes prompts "
                f"from {_some(config['images'], 'image')}, {_some(len(prompts.epochs), 'epoch')}",
            )
        )
    if isinstance(encoder, Run):
        config = encoder.config
        minimisation = "on" if config["clothes_feature_minimisation"] else "off"
        facts.append(
            Fact(
                "train, stage 2",
                f"{config['model']['name']}, method {config.get('method', 'ccaf')}, "
                f"{_some(len(encoder.epochs), 'epoch')}, "
                f"clothes feature minimisation {minimisation}",
            )
        )
    scored = str(inputs.metrics.config.get("checkpoint_sha256") or "")[:SHORT_HASH]
    names = ", ".join(score.name for score in inputs.metrics.scores)
    facts.append(Fact("evaluate", names + (f"; checkpoint {scored}…" if scored else "")))
    if isinstance(encoder, Run):
        facts.append(Fact("seed", str(encoder.config["seed"])))
    return tuple(facts)


def clothes_sentence(prompts: Run | Absent) -> str:
    """How the clothes classes of the training images were got, and how many images have none."""
    if not isinstance(prompts, Run):
        return "Not known, as there is no prompts checkpoint."
    config = prompts.config
    without = f"{config['images_without_clothes_class']:,} of {config['images']:,} training images have none."
    source = config["clothes_source"]
    classes = f"{config['clothes_classes']:,} classes"
    if source == "labels":
        return f"{classes}, the data set's own labels. {without}"
    if source == "image":
        return f"{classes}, one an image. {without}"
    if source == "cluster":
        distance = (config.get("parameters") or {}).get("cluster_distance")
        return (
            f"{classes}, clusters of the clothes images' features within each identity "
            f"(cosine distance up to {distance}). {without}"
        )
    return "None: clothes prompts and clothes feature minimisation were switched off."
