"""The steps of a study: what each makes, from what, and everything that decides its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.config import Parameters
from pipeline.config.training import CHANGE_NO_RESULT, OF_CUDA
from pipeline.files import sha256_of_value
from pipeline.training.methods import identity_images

Kind = Literal["population", "clip", "data", "shards", "prompts", "encoder", "features", "metrics", "leakage", "oracle"]

_ONLY_HOW = {
    "training": CHANGE_NO_RESULT,
    "parse": {
        "batch_size",
        "bucket_batches",
        "io_threads",
        "gpus_per_worker",
        "restarts",
        "shard_timeout",
        "max_bad",
    },
}
"""Parameters that change no result, but for rounding."""

_OF_TEST = {"train_identities", "test_identities", "outfits", "images_per_outfit", "cameras"}
_OF_POPULATION = {"pretrain_images"}
_OF_PROMPTS = {"precision", "clip_gradients", *OF_CUDA}
_OF_TRAINING_CLIP = {"name", "stem", "image_size", "stride", "pixel_mean", "pixel_std"}


@dataclass(frozen=True)
class Step:
    """One piece of work with one artifact.

    Attributes:
        name: Path of the artifact below the study's folder; unique.
        kind: What is done.
        parameters: All of them, with paths filled in.
        places: What is read and written, by role; ``out`` is the artifact.
        inputs: Steps whose artifacts are read, by role.
        made_of: Everything else that decides the result, JSON-like.
        code: Digest of the program's files that decide it.
        given: Hashes of artifacts that are read and that no step makes, by role. They count as inputs do, so that it is
            the same to a step whether shards were there before the study or were parsed by it.
        cost: Estimated seconds, for the order of work and for the time left.
    """

    name: str
    kind: Kind
    parameters: Parameters
    places: Mapping[str, Path]
    inputs: Mapping[str, str]
    made_of: Mapping[str, Any]
    code: str = ""
    cost: float = 1.0
    given: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        value = {"kind": self.kind, "made_of": dict(self.made_of), "code": self.code}
        object.__setattr__(self, "fingerprint", sha256_of_value(value))

    @property
    def out(self) -> Path:
        """The artifact."""
        return self.places["out"]


def section(parameters: Parameters, name: str) -> dict[str, Any]:
    """A section's parameters that decide results; those of CUDA's arithmetic only where they are not as usual."""
    values: dict[str, Any] = getattr(parameters, name).model_dump(mode="json")
    unused = {*_ONLY_HOW.get(name, ()), *(key for key in OF_CUDA if name == "training" and not values[key])}
    return {key: value for key, value in values.items() if key not in unused}


def model_of(parameters: Parameters, given_clip: str | None) -> dict[str, Any]:
    """The model's parameters; where its weights come from outside, what they are in the place of where they lie."""
    model = section(parameters, "model")
    del model["pretrained"]
    return model if given_clip is None else {**model, "weights": given_clip}


def deciding(kind: Kind, parameters: Parameters, given_clip: str | None = None) -> dict[str, Any]:
    """The parameters that decide the result of a step of some kind, besides its inputs.

    Args:
        kind: Of the step.
        parameters: All of them.
        given_clip: What the weights are that come from outside the study; None: a step makes them.
    """
    training = section(parameters, "training")
    seed = {"seed": parameters.seed}
    synth = section(parameters, "synth")
    if kind == "population":
        return {**seed, "synth": {key: value for key, value in synth.items() if key not in _OF_TEST}}
    if kind == "data":
        return {**seed, "synth": {key: value for key, value in synth.items() if key not in _OF_POPULATION}}
    if kind == "clip":
        model = {key: value for key, value in section(parameters, "model").items() if key in _OF_TRAINING_CLIP}
        return {**seed, "model": model, "pretrain": section(parameters, "pretrain")}
    if kind == "shards":
        frames = parameters.data.frames_per_tracklet
        return {"parse": section(parameters, "parse"), "frames_per_tracklet": frames}
    if kind == "prompts":
        return {
            **seed,
            "model": model_of(parameters, given_clip),
            "prompts": section(parameters, "prompts"),
            "identity_images": identity_images(parameters.encoder.method, parameters.prompts.identity_images),
            "training": {key: value for key, value in training.items() if key in _OF_PROMPTS},
        }
    if kind == "encoder":
        return {
            **seed,
            "model": model_of(parameters, given_clip),
            "encoder": section(parameters, "encoder"),
            "identity_images": identity_images(parameters.encoder.method, parameters.prompts.identity_images),
            "training": training,
            "feature": parameters.evaluate.feature if parameters.training.evaluate_every else None,
        }
    if kind == "features":
        evaluate = section(parameters, "evaluate")
        return {
            "model": model_of(parameters, given_clip),
            "evaluate": {key: evaluate[key] for key in ("feature", "flip")},
        }
    if kind == "leakage":
        return {**seed, "leakage": section(parameters, "leakage")}
    if kind == "oracle":
        return {}
    evaluate = section(parameters, "evaluate")
    unused = {"feature", "flip", "batch_size", "rerank_gigabytes"}
    return {**seed, "evaluate": {key: value for key, value in evaluate.items() if key not in unused}}
