"""The parser ``transformers``: its settings, and how the parser of a saved model is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from pipeline.errors import InputError
from pipeline.labels import find_scheme
from pipeline.parsing.forward import ANY_DEVICE, BatchSize, NetworkPrecision, refuse_precision
from pipeline.parsing.parser import register_parser
from pipeline.parsing.transformers.labels import ModelLabels, class_names, mapped_labels, own_labels
from pipeline.parsing.transformers.loading import LoadedModel, load_model
from pipeline.parsing.transformers.named import Preset, load_preset, preset_labels, presets_in_words
from pipeline.parsing.transformers.semantic import ModelRun, SemanticParser, TransformersParser
from pipeline.parsing.transformers.universal import Mode, UniversalParser
from pipeline.precision import PrecisionName
from pipeline.settings import SettingsGroup

THRESHOLD: Final = 0.8


class TransformersSettings(SettingsGroup):
    """Settings of the parser ``transformers``."""

    preset: str | None = Field(
        None,
        description=f"a published model with its labels: {presets_in_words()}; null: as given below. Sapiens2 has no "
        f"preset, as its licence forbids surveillance and biometric processing",
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="name on the Hugging Face hub (owner/name), or folder of a saved model; null: the preset's",
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub; null: the main branch")
    scheme: str | dict[str, Any] | None = Field(
        None, description="lip, cihp, atr, pascal, a YAML file or its fields; null: the model's own class names"
    )
    labels: dict[str, str] | None = Field(
        None, description="with scheme: its label for each class of the model that has another name in it"
    )
    mode: Mode = Field(
        "semantic",
        description="panoptic, for Mask2Former and its like: a pixel is of the surest mask there, and what no mask "
        "holds is background",
    )
    threshold: float | None = Field(
        None, ge=0, lt=1, description=f"with panoptic: masks whose class is not surer are left out; null: {THRESHOLD}"
    )
    batch_size: BatchSize = 16
    precision: NetworkPrecision = "fp32"


@register_parser("transformers", TransformersSettings, refuse_precision, ANY_DEVICE)
def create_transformers(
    model: str | None = None,
    device: str = "cpu",
    revision: str | None = None,
    scheme: str | Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    batch_size: int = 16,
    precision: PrecisionName = "fp32",
    preset: str | None = None,
    mode: Mode = "semantic",
    threshold: float | None = None,
) -> TransformersParser:
    """Build the parser from a saved model; the arguments are described by :class:`TransformersSettings`.

    Raises:
        InputError: transformers is not installed, the model cannot be had, its classes do not fit the scheme or the
            preset, settings do not go together, or the device cannot do the precision.
    """
    refuse_precision(device, {"precision": precision})  # before much is read
    facts = None if preset is None else load_preset(preset)
    _check_together(facts, model, scheme, labels, mode, threshold)
    chosen = model or (facts.model if facts else "")
    loaded = load_model(chosen, revision)
    if mode == "panoptic" and not loaded.universal:
        raise InputError(
            f"parse.settings.mode: panoptic is for universal models (Mask2Former, OneFormer, EoMT), and {chosen} is a "
            f"{loaded.model_type}, which labels pixels without masks; use semantic"
        )
    meaning = _meaning(loaded, Path(chosen).name, facts, scheme, labels, mode)
    run = ModelRun(
        loaded.network, loaded.processor, meaning, device, batch_size, precision, weights_sha256=loaded.weights_sha256
    )
    if not loaded.universal:
        return SemanticParser(run)
    return UniversalParser(
        run,
        mode=mode,
        threshold=THRESHOLD if threshold is None else threshold,
        canvas=loaded.canvas,
        inputs=loaded.inputs(mode),
    )


def _check_together(
    facts: Preset | None,
    model: str | None,
    scheme: str | Mapping[str, Any] | None,
    labels: Mapping[str, str] | None,
    mode: Mode,
    threshold: float | None,
) -> None:
    """Refuse settings that do not go together, before anything is read."""
    if facts is None and model is None:
        raise InputError("model must be given (parse.settings.model), or a preset (parse.settings.preset)")
    if scheme is None and labels is not None:
        raise InputError("parse.settings.labels maps to the labels of a scheme: name it in parse.settings.scheme")
    if threshold is not None and mode != "panoptic":
        raise InputError("parse.settings.threshold goes with parse.settings.mode: panoptic")


def _meaning(
    loaded: LoadedModel,
    name: str,
    facts: Preset | None,
    scheme: str | Mapping[str, Any] | None,
    labels: Mapping[str, str] | None,
    mode: Mode,
) -> ModelLabels:
    """What the model's classes mean: as the user says, else as the preset does, else by their names."""
    classes = class_names(loaded.id2label)
    if scheme is not None:
        return mapped_labels(classes, find_scheme(scheme), labels or {})
    if facts is not None:
        return preset_labels(facts, classes)
    return own_labels(name, classes, adds_background=mode == "panoptic")
