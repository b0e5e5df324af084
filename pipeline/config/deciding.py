"""Which parameters decide an artifact. All that asks this asks here: DVC's stages, the steps of studies, the states
that a training goes on from, the records of runs. :mod:`pipeline.config.program` says the same of the program's files.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pipeline.arithmetic import uses_cuda
from pipeline.config.parameters import Parameters
from pipeline.losses.captions import CaptionSettings
from pipeline.losses.terms import settings_as
from pipeline.precision import resolve_precision, resolve_tf32
from pipeline.redress.settings import RedressSettings
from pipeline.trainer.settings import CHANGE_NO_RESULT, OF_CUDA
from pipeline.training.methods import identity_images
from pipeline.training.settings import PretrainStartSettings

Kind = Literal[
    "population",
    "clip",
    "data",
    "shards",
    "inspection",
    "redressed",
    "prompts",
    "encoder",
    "blend",
    "features",
    "metrics",
    "leakage",
    "oracle",
    "report",
    "tables",
]
"""What the stages make, from the captioned people and the small CLIP that is trained on them to tables of studies."""

ONLY_HOW: Final[Mapping[str, frozenset[str]]] = {
    "parse": frozenset(
        {"batch_size", "bucket_batches", "io_threads", "gpus_per_worker", "restarts", "shard_timeout", "max_bad"}
    ),
    "loading": frozenset({"pixels", "gigabytes", "threads", "ahead"}),
    "training": CHANGE_NO_RESULT,
    "evaluate": frozenset({"batch_size", "rerank_gigabytes"}),
}
"""Parameters that change no result, but for rounding, by section; nor do ``device`` and ``threads``."""

_OF_TEST = {"train_identities", "test_identities", "outfits", "images_per_outfit", "cameras"}
_OF_POPULATION = {"pretrain_images"}
_OF_TRAINING_CLIP = {"name", "tokenizer", "stem", "image_size", "stride", "pixel_mean", "pixel_std"}
_OF_PROMPTS = {"precision", "clip_gradients", *OF_CUDA}
_OF_FEATURES = {"feature", "flip", "precision"}


def _names(section: str) -> set[str]:
    """The parameters of a section that can decide a result."""
    return set(type(Parameters.model_fields[section].default).model_fields) - ONLY_HOW.get(section, frozenset())


_COUNTING: Final[Mapping[Kind, Mapping[str, set[str]]]] = {
    "population": {"synth": _names("synth") - _OF_TEST},
    "data": {"synth": _names("synth") - _OF_POPULATION},
    "clip": {"model": _OF_TRAINING_CLIP, "pretrain": _names("pretrain")},
    "shards": {"data": _names("data"), "parse": _names("parse")},
    "inspection": {},
    "redressed": {},  # the options of the command decide the rest
    "prompts": {
        "model": _names("model"),
        "prompts": _names("prompts"),
        "encoder": {"method"},  # as far as it says which images prompts are learned from
        "training": _OF_PROMPTS,
    },
    "encoder": {
        "model": _names("model"),
        "prompts": {"identity_images"},
        "encoder": _names("encoder"),
        "training": _names("training"),
        "evaluate": _OF_FEATURES,  # as far as checks between epochs choose the best weights by it
    },
    "blend": {"model": _names("model"), "blend": _names("blend")},
    "features": {"model": _names("model"), "evaluate": _OF_FEATURES},
    "metrics": {"evaluate": _names("evaluate") - _OF_FEATURES},
    "leakage": {"leakage": _names("leakage")},
    "oracle": {},
    "report": {"report": _names("report")},
    "tables": {},  # a study has parameters of its own
}
"""Parameters that count for an artifact itself, not for what it is made from, by section."""

_WITHOUT_SEED: Final = frozenset({"shards", "blend", "features", "oracle", "tables"})


def counting(kind: Kind) -> frozenset[str]:
    """Dotted names of the parameters that count for an artifact of some kind, besides those that count for its inputs.

    That is for all values of the parameters; :func:`deciding` says what counts where they have given values.
    """
    sections = {f"{section}.{name}" for section, names in _COUNTING[kind].items() for name in names}
    return frozenset(sections if kind in _WITHOUT_SEED else {"seed", *sections})


def unusual_on_cuda(parameters: Parameters) -> tuple[str, ...]:
    """The parameters of CUDA's arithmetic that are not as usual: of ``tf32``, not what ``auto`` becomes.

    Usual ones are left out of what decides a result, so that a training may go on from a CPU to a GPU and back.
    """
    training = parameters.training
    tf32 = resolve_tf32(training.tf32, training.precision)
    unusual = {"deterministic": training.deterministic, "tf32": tf32 != resolve_tf32("auto", training.precision)}
    return tuple(sorted(name for name in OF_CUDA if unusual[name]))


def _values(kind: Kind, section: str, parameters: Parameters) -> dict[str, Any]:
    """A section's parameters that count; those of CUDA's arithmetic only where they are not as usual, and those of
    redressed views, and of the start of the pre-training, only where there are any.
    """
    values: dict[str, Any] = getattr(parameters, section).model_dump(mode="json")
    wanted = _COUNTING[kind][section]
    if section == "pretrain":
        usual = PretrainStartSettings().model_dump(mode="json")
        wanted = wanted - {name for name, value in usual.items() if values[name] == value}  # for the same reason
    if section == "training":
        wanted = wanted - (OF_CUDA - set(unusual_on_cuda(parameters)))
    if section == "encoder" and settings_as(parameters.encoder, CaptionSettings).captions is None:
        wanted = wanted - CaptionSettings.model_fields.keys()
    if section == "encoder" and not parameters.encoder.redress:
        wanted = wanted - RedressSettings.model_fields.keys()  # so that states of earlier versions stay valid
    if section == "encoder" and not parameters.encoder.batch_per_worker:
        wanted = wanted - {"batch_per_worker"}  # likewise
    return {name: value for name, value in values.items() if name in wanted}


def _model(kind: Kind, parameters: Parameters, given_clip: str | None) -> dict[str, Any]:
    """The model's parameters; where its weights come from outside, what they are in the place of where they lie."""
    model = _values(kind, "model", parameters)
    model.pop("pretrained", None)
    if model.get("tokenizer") is None:
        model.pop("tokenizer", None)  # so that what was made by earlier versions stays valid
    return model if given_clip is None else {**model, "weights": given_clip}


def _checked_feature(parameters: Parameters) -> str | None:
    """The feature by which checks between epochs choose the best weights; None: there are no checks."""
    return parameters.evaluate.feature if parameters.training.evaluate_every else None


def deciding(kind: Kind, parameters: Parameters, given_clip: str | None = None) -> dict[str, Any]:
    """The parameters that decide an artifact, by section, besides its inputs.

    Args:
        kind: Of the artifact.
        parameters: All of them.
        given_clip: What the weights of the CLIP are, where they come from outside; None: they are an input.
    """
    decided: dict[str, Any] = {} if kind in _WITHOUT_SEED else {"seed": parameters.seed}
    if kind == "shards":
        # where the images lie is no part of what they are
        parse = _values(kind, "parse", parameters)
        if parameters.parse.shielded_images == "stored":
            del parse["shielded_images"]  # as shards name what made them
        return {"parse": parse, "frames_per_tracklet": parameters.data.frames_per_tracklet}
    if kind in ("prompts", "encoder"):
        decided["identity_images"] = identity_images(parameters.encoder.method, parameters.prompts.identity_images)
        decided |= {section: _values(kind, section, parameters) for section in (kind, "training")}
    else:
        decided |= {section: _values(kind, section, parameters) for section in _COUNTING[kind]}
    if kind == "encoder":
        decided["feature"] = _checked_feature(parameters)
        if decided["feature"] is not None and parameters.evaluate.flip:
            decided["flip"] = True  # only where it is asked for, so that states of earlier versions stay valid
        if decided["feature"] is not None and parameters.evaluate.precision != "fp32":
            decided["precision"] = parameters.evaluate.precision
    if "model" in _COUNTING[kind]:
        decided["model"] = _model(kind, parameters, given_clip if kind != "clip" else None)
    return decided


def deciding_training(
    kind: Literal["clip", "prompts", "encoder"], parameters: Parameters, device: str
) -> dict[str, Any]:
    """The parameters that decide what a training makes, as its checkpoint and the states to go on from name them.

    The model is left out: they name the network that was made and the hash of its weights.

    Args:
        kind: Of the artifact.
        parameters: All of them.
        device: On a CPU, the parameters of CUDA's arithmetic decide nothing, and ``training.precision: auto`` is fp32.
    """
    own_training = parameters.training
    became = {"precision": resolve_precision(own_training.precision, device)}
    parameters = parameters.model_copy(update={"training": own_training.model_copy(update=became)})
    decided = deciding(kind, parameters)
    read = {} if parameters.model.tokenizer is None else {"tokenizer": parameters.model.tokenizer}
    if kind == "clip":
        return {"parameters": decided["pretrain"], "seed": decided["seed"], **read}
    on_cpu = set() if uses_cuda(device) else OF_CUDA
    training = {name: value for name, value in decided["training"].items() if name not in on_cpu}
    # where a file lies is no part of what is in it, which its hash says
    own = {name: value for name, value in decided[kind].items() if name != "captions"}
    value = {"parameters": own, "training": training, "seed": decided["seed"]}
    if kind == "prompts":
        return {**value, "identity_images": decided["identity_images"], **read}
    checked = {f"evaluate_{name}": decided[name] for name in ("feature", "flip") if decided.get(name) is not None}
    if "precision" in decided and (computed := resolve_precision(decided["precision"], device)) != "fp32":
        checked["evaluate_precision"] = computed
    return {**value, "camera_embedding": decided["model"]["camera_embedding"], **checked}


def recorded(section: str, parameters: Parameters) -> dict[str, Any]:
    """The parameters that the record of a training holds: all that it was run with, those that decide nothing included.

    Args:
        section: ``prompts`` or ``encoder``.
        parameters: All of them.
    """
    return parameters.model_dump(
        mode="json", include={"device", "threads", "seed", "data", "model", section, "training"}
    )
