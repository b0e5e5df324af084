"""The weights that ``model.pretrained`` names, found, read, and fitted into a model."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import open_clip
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.files import read_json, sha256_of_file, sha256_of_value
from pipeline.models.activations import check_activation, check_file_activation
from pipeline.models.builtin import builtin_weights, weights_on_disk
from pipeline.models.checkpoint import CONFIG_NAME, WEIGHTS_NAME, check_floats, read_checkpoint
from pipeline.models.foreign_weights import OWN_IMAGE_PREFIX, arrange
from pipeline.models.grids import Grid
from pipeline.models.settings import ModelSettings
from pipeline.models.timm_encoders import is_staged
from pipeline.models.weight_files import read_weight_file

LISTED_KEYS: Final = 6
_RECORD_NAME = "record.json"
_SAME_MODEL = ("name", "stem", "stride", "pixel_mean", "pixel_std")
_WHOLE_CLIP = "set model.pretrained to the weights of a whole CLIP"


@dataclass(frozen=True)
class ClipWeights:
    """Weights under open_clip's names, not yet compared with a model.

    Attributes:
        path: The file.
        sha256: Of the file; where the text encoder comes from another file, of both.
        tensors: By name.
        whole: With a text encoder; otherwise ``visual.*`` alone.
        grid: Height and width of the positions, where that is recorded.
        of_input: The positions are those of the images that were trained on, not those of the model's configuration.
        form: Whose form the file has, where it is known.
        note: What the user should know about how the file was read; empty: nothing.
    """

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    whole: bool = True
    grid: Grid | None = None
    of_input: bool = False
    form: str = ""
    note: str = ""


def _place_of(tag: Mapping[str, Any]) -> str:
    """Where a file of weights can be had by hand."""
    if tag.get("url"):
        return str(tag["url"])
    return f"the repository {str(tag.get('hf_hub', '')).rsplit('/', 1)[0]} of huggingface.co"


def _weights_file(name: str, pretrained: str) -> Path:
    path = weights_on_disk(pretrained)
    if path is not None:
        return path
    tag = get_pretrained_cfg(name, pretrained)
    if not tag and Path(pretrained).is_dir():
        raise InputError(f"model.pretrained: the folder {pretrained} has no {WEIGHTS_NAME}: name a file of weights")
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise InputError(
            f"model.pretrained: {pretrained} is neither a file nor a pretrained tag of {name} (tags: {tags}); "
            f"with this package come {', '.join(builtin_weights())}"
        )
    check_activation(name, bool(tag.get("quick_gelu", False)), f"the weights {pretrained}")
    try:
        return Path(download_pretrained(tag))
    except Exception as error:  # whatever the network, the hub or the disk says
        reason = textwrap.shorten(str(error) or type(error).__name__, 200, placeholder=" ...").rstrip(".")
        raise InputError(
            f"the weights {pretrained} of {name} cannot be downloaded ({reason}); fetch them elsewhere from "
            f"{_place_of(tag)}, put the file anywhere on this machine, and give its path: "
            f"--set model.pretrained=/PATH/TO/FILE"
        ) from error


def _recorded_grid(metadata: Mapping[str, str] | None, path: Path) -> Grid | None:
    """A 16x8 grid loaded as 8x16 has the right number of rows: only the record in the file can tell."""
    recorded = (metadata or {}).get("grid")
    if recorded is None:
        return None
    try:
        height, width = (int(side) for side in recorded.split("x"))
    except ValueError:
        raise InputError(f"weights {path}: the grid in the file's header is not HEIGHTxWIDTH") from None
    return height, width


def _kind_of(path: Path) -> str | None:
    """The kind of our checkpoint that a file of weights belongs to."""
    config = path.with_name(CONFIG_NAME)
    if path.name != WEIGHTS_NAME or not config.is_file():
        return None
    try:
        kind = read_json(config, "checkpoint").get("kind")
    except (InputError, AttributeError):
        return None
    return kind if isinstance(kind, str) else None


def _read_file(path: Path, name: str, text: bool) -> ClipWeights:
    file = read_weight_file(path)
    arranged = arrange(file.tensors)
    sha256 = sha256_of_file(path)
    check_file_activation(name, file, sha256, arranged.form.startswith("transformers"))
    if text and not arranged.whole:
        raise InputError(
            f"weights {path} are of {arranged.form}, which has no text encoder, and training needs one: {_WHOLE_CLIP}; "
            f"only `extract --frozen` and `figures` take an image encoder alone"
        )
    remarks = [
        f"taken from inside {' '.join(file.inside)}" if file.inside else "",
        f"read in the form of {arranged.form}" if arranged.form else "",
        f"without its {', '.join(arranged.left_out)}" if arranged.left_out else "",
    ]
    told = ", ".join(filter(None, remarks))
    return ClipWeights(
        path,
        sha256,
        arranged.tensors,
        arranged.whole,
        _recorded_grid(file.metadata, path),
        form=arranged.form,
        note=f"weights {path}: {told}" if told else "",
    )


def _check_same_model(config: Mapping[str, Any], settings: ModelSettings, folder: Path) -> Grid:
    """Compare the model of an encoder checkpoint with the settings; returns the checkpoint's grid."""
    model = config.get("model")
    grid = model.get("grid") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(grid, list) or len(grid) != 2:
        raise InputError(f"checkpoint {folder} is damaged: its model is not described in {CONFIG_NAME}")
    wanted = settings.model_dump(mode="json")
    for key in _SAME_MODEL:
        before, now = model.get(key), wanted[key]
        same = Path(str(before)).stem == Path(str(now)).stem if key == "name" else before == now
        if not same:
            raise InputError(
                f"the encoder in {folder} was trained with model.{key} = {before}, the parameters have {now}: "
                f"set model.{key} to what it was trained with"
            )
    return int(grid[0]), int(grid[1])


def _text_source(folder: Path) -> str:
    """``model.pretrained`` of the training that wrote an encoder checkpoint.

    Raises:
        InputError: It is not recorded, or was random weights.
    """
    places = [folder / _RECORD_NAME, folder.parent / _RECORD_NAME]  # weights of the best epoch lie in a folder below
    found = next((place for place in places if place.is_file()), None)
    record = read_json(found, "record") if found else {}
    try:
        pretrained = record["parameters"]["model"]["pretrained"]
    except (KeyError, TypeError):
        pretrained = None
    if not isinstance(pretrained, str):
        raise InputError(
            f"the encoder in {folder} cannot start a training: a checkpoint has no text encoder, and no weights of "
            f"the CLIP that it was trained from are recorded in {_RECORD_NAME}"
        )
    return pretrained


def _text_of(
    folder: Path, config: Mapping[str, Any], settings: ModelSettings, name: str, seen: frozenset[Path]
) -> ClipWeights:
    """The weights of the CLIP that an encoder was trained from, whose text encoder never changed since."""
    pretrained = _text_source(folder)
    why = f"the encoder in {folder} needs the text encoder of the CLIP that it was trained from, {pretrained}"
    try:
        source = read_clip_weights(settings.model_copy(update={"pretrained": pretrained}), name, True, seen)
    except InputError as error:
        raise InputError(f"{why}: {error}") from error
    if source.sha256 != config.get("clip_sha256"):
        raise InputError(f"{why}, but the weights there are others now: put the former ones back")
    return source


def _read_encoder(path: Path, settings: ModelSettings, name: str, text: bool, seen: frozenset[Path]) -> ClipWeights:
    """An encoder checkpoint of ours: its image encoder, and the text encoder that belongs to it."""
    folder = path.parent
    if path.resolve() in seen:
        raise InputError(f"{folder} is recorded as trained from itself, so that its text encoder is not known")
    checkpoint = read_checkpoint(folder, "encoder", "ccaf-pipeline train")
    grid = _check_same_model(checkpoint.config, settings, folder)
    tensors = {f"visual.{key}": value for key, value in checkpoint.part(OWN_IMAGE_PREFIX.rstrip(".")).items()}
    told = f"weights {path}: the image encoder of a checkpoint of ours"
    own = ClipWeights(path, checkpoint.sha256, tensors, False, grid, of_input=True, note=told)
    if not text:
        return own
    source = _text_of(folder, checkpoint.config, settings, name, seen | {path.resolve()})
    texts = {key: value for key, value in source.tensors.items() if not key.startswith("visual.")}
    return replace(
        own,
        tensors=tensors | texts,
        whole=True,
        sha256=sha256_of_value({"image": own.sha256, "text": source.sha256}),
        note=f"{told}, with the text encoder of {source.path}",
    )


def read_clip_weights(
    settings: ModelSettings, name: str, text: bool, seen: frozenset[Path] = frozenset()
) -> ClipWeights:
    """Find and read the weights that the settings name.

    Args:
        settings: With ``pretrained``.
        name: The model's name in open_clip.
        text: Whether a text encoder is needed.
        seen: Weights of encoder checkpoints that led here.

    Raises:
        InputError: There are none, they cannot be read, were made with another activation or model, or have no text
            encoder although one is needed.
    """
    path = _weights_file(name, str(settings.pretrained))
    kind = _kind_of(path)
    if kind == "prompts":
        raise InputError(f"{path.parent} is a checkpoint of prompts, which has no encoder: {_WHOLE_CLIP}")
    if kind == "encoder":
        return _read_encoder(path, settings, name, text, seen)
    return _read_file(path, name, text)


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - LISTED_KEYS} more" if len(ordered) > LISTED_KEYS else ""
    return f"{', '.join(ordered[:LISTED_KEYS])}{more}"


def _misfits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """What a file has otherwise than the model. Positions of another grid are among it: they are never guessed at."""
    unknown, missing = tensors.keys() - own.keys(), own.keys() - tensors.keys()
    shapes = [
        f"{key} is {tuple(tensors[key].shape)} in the file and {tuple(own[key].shape)} in the model"
        for key in sorted(own.keys() & tensors.keys())
        if tensors[key].shape != own[key].shape
    ]
    found = [
        f"the file has {_listed(unknown)}, which the model lacks" if unknown else "",
        f"the model has {_listed(missing)}, which the file lacks" if missing else "",
        *shapes[:LISTED_KEYS],
        f"{len(shapes) - LISTED_KEYS} more shapes differ" if len(shapes) > LISTED_KEYS else "",
    ]
    return list(filter(None, found))


def _own_tensors(model: nn.Module, whole: bool) -> dict[str, Tensor]:
    return {key: value for key, value in model.state_dict().items() if whole or key.startswith("visual.")}


def for_grid(model: Any, weights: ClipWeights, native: Grid) -> ClipWeights:
    """Weights with what their recorded grid means for a model.

    A network of stages has no positions, and no grid counts. A transformer of timm has its own size in its name, so
    that those pre-trained on images of another size have positions of these.
    """
    if weights.of_input or not isinstance(model.visual, TimmModel) or weights.grid in (None, native):
        return weights
    return replace(weights, grid=None) if is_staged(model.visual) else replace(weights, of_input=True)


def fits_input(model: nn.Module, weights: ClipWeights) -> bool:
    """Whether weights are to be fitted in after the model has taken the grid of the images, not before.

    That is so for encoders that were trained for re-identification: their positions are those of people's images.
    """
    if weights.of_input or weights.whole:
        return weights.of_input
    own = _own_tensors(model, whole=False)
    positions = [
        key for key in own.keys() & weights.tensors.keys() if key.endswith(("positional_embedding", "pos_embed"))
    ]
    return any(own[key].shape != weights.tensors[key].shape for key in positions)


def fit_weights(model: nn.Module, weights: ClipWeights, grid: Grid) -> None:
    """Load weights into a model, all of them and nothing else; half precision becomes the model's.

    Args:
        model: open_clip's.
        weights: Of a whole CLIP, or of an image encoder alone, which leaves the rest as it is.
        grid: Height and width of the model's positions.

    Raises:
        InputError: Names, shapes, grids or kinds of numbers differ.
    """
    path = weights.path
    if weights.grid is not None and weights.grid != grid:
        recorded = f"{weights.grid[0]}x{weights.grid[1]}"
        whose = "model.image_size and model.stride make" if weights.of_input else "the model configuration has"
        raise InputError(f"{path} holds a {recorded} position grid, {whose} {grid[0]}x{grid[1]}")
    own = _own_tensors(model, weights.whole)
    misfits = _misfits(own, weights.tensors)
    if misfits:
        form = f" (they have the form of {weights.form})" if weights.form else ""
        raise InputError(f"weights {path} are of another model{form}: {'; '.join(misfits)}")
    check_floats(own, weights.tensors, f"weights {path}")
    model.load_state_dict(dict(weights.tensors), strict=weights.whole)
