"""Any open_clip model by name, with a non-square grid: the one way in which the project builds a CLIP."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from safetensors import safe_open
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.models.builtin import builtin_weights, weights_on_disk
from pipeline.models.checkpoint import check_floats
from pipeline.models.grids import Grid, native_grid, set_grid
from pipeline.models.image_encoder import ImageEncoder, wrap_image_tower
from pipeline.models.settings import ModelSettings
from pipeline.models.stem import ConvStem
from pipeline.models.text_encoder import TextEncoder

CONFIG_FOLDER = Path(__file__).parent / "configs"
LISTED_KEYS = 12

Tokenizer = Callable[[list[str]], Tensor]


@dataclass(frozen=True)
class ClipSpec:
    """Everything that is needed to build the same architecture again.

    Attributes:
        name: open_clip model name, or path of an open_clip JSON configuration.
        stem: ``patch`` or ``conv``.
        image_size: Height and width in pixels.
        grid: Height and width of the position embedding.
        pixel_mean: Mean of the RGB channels in [0, 1], taken off before the encoder.
        pixel_std: Divisor of the RGB channels.
        stride: Pixels between two patches; None: the patch size.
    """

    name: str
    stem: str
    image_size: tuple[int, int]
    grid: tuple[int, int]
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    stride: int | None = None

    @classmethod
    def of(cls, settings: ModelSettings, grid: Grid) -> "ClipSpec":
        """The architecture that settings make, with the grid that comes of them."""
        values = settings.model_dump(exclude={"pretrained", "camera_embedding"})
        return cls(grid=grid, **values)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "ClipSpec":
        """Inverse of :meth:`to_dict` (JSON turns tuples into lists).

        Raises:
            InputError: A field is missing or unknown.
        """
        try:
            fields: dict[str, Any] = {
                key: tuple(item) if isinstance(item, list) else item for key, item in value.items()
            }
            return cls(**fields)
        except TypeError as error:
            raise InputError(f"the model description in the checkpoint is damaged: {error}") from error


@dataclass
class Clip:
    """An image and a text encoder that share a space.

    Attributes:
        image_encoder: E_v.
        text_encoder: E_t.
        logit_scale: CLIP's learned temperature, as a logarithm; a scalar parameter.
        tokenizer: Texts -> token numbers (B, context length).
        spec: The architecture.
        weights_sha256: Hash of the weights' file; empty for random weights.
    """

    image_encoder: ImageEncoder
    text_encoder: TextEncoder
    logit_scale: nn.Parameter
    tokenizer: Tokenizer
    spec: ClipSpec
    weights_sha256: str

    def freeze(self) -> "Clip":
        """Take all weights out of training: no gradients, evaluation mode."""
        self.logit_scale.requires_grad_(False)
        for encoder in (self.image_encoder, self.text_encoder):
            encoder.requires_grad_(False).eval()
        return self

    def to(self, device: str) -> "Clip":
        """Move both encoders."""
        self.image_encoder.to(device)
        self.text_encoder.to(device)
        return self


@contextmanager
def _quiet_open_clip() -> Iterator[None]:
    """open_clip warns on the root logger that weights are random, also where they are loaded a line later."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@cache
def _register_packaged_configs() -> None:
    for path in sorted(CONFIG_FOLDER.glob("*.json")):
        open_clip.add_model_config(path)


def _registered_name(name: str) -> str:
    _register_packaged_configs()
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"model configuration not found: {name}")
        open_clip.add_model_config(path)
        name = path.stem
    if name not in open_clip.list_models():
        raise InputError(
            f"unknown model {name!r}: give an open_clip model name (such as ViT-B-16-quickgelu or walker-clip) "
            f"or the path of an open_clip JSON configuration"
        )
    return name


def _weights_file(name: str, pretrained: str) -> Path:
    path = weights_on_disk(pretrained)
    if path is not None:
        return path
    tag = get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise InputError(
            f"model.pretrained: {pretrained} is neither a file nor a pretrained tag of {name} (tags: {tags}); "
            f"with this package come {', '.join(builtin_weights())}"
        )
    config = open_clip.get_model_config(name)
    if "timm_model_name" not in config["vision_cfg"] and tag.get("quick_gelu", False) != config.get(
        "quick_gelu", False
    ):
        raise InputError(
            f"the weights {pretrained} were made with another activation than {name}: use {name}-quickgelu"
        )
    try:
        return Path(download_pretrained(tag))
    except Exception as error:  # whatever the network, the hub or the disk says
        raise InputError(
            f"the weights {pretrained} of {name} cannot be downloaded ({error}); "
            f"put them on this machine and name the file in model.pretrained"
        ) from error


def _check_recorded_grid(path: Path, grid: tuple[int, int]) -> None:
    """A 16x8 grid loaded as 8x16 has the right number of rows: only the record in the file can tell."""
    if path.suffix != ".safetensors":
        return
    with safe_open(path, framework="pt") as file:
        recorded = (file.metadata() or {}).get("grid")
    if recorded is not None and recorded != f"{grid[0]}x{grid[1]}":
        raise InputError(f"{path} holds a {recorded} position grid, the model configuration has {grid[0]}x{grid[1]}")


def _read_weights(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The file's tensors under the model's key names."""
    state: dict[str, Tensor] = convert_state_dict(model, load_state_dict(str(path)))
    if "positional_embedding" in state:
        state = convert_to_custom_text_state_dict(state)
    state.pop("text.transformer.embeddings.position_ids", None)  # of old transformers releases; holds nothing
    if "logit_scale" in state:
        state["logit_scale"] = state["logit_scale"].reshape(())
    return state


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What a file has otherwise than the model. Positions of another grid are among it: they are never guessed at."""
    missing = [f"{key} is missing" for key in own.keys() - state.keys()]
    unknown = [f"{key} is not the model's" for key in state.keys() - own.keys()]
    shapes = [
        f"{key} is {tuple(state[key].shape)} in the file and {tuple(own[key].shape)} in the model"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    ]
    return sorted(missing) + sorted(unknown) + sorted(shapes)


def _load_weights(model: nn.Module, path: Path, grid: Grid) -> None:
    try:
        _check_recorded_grid(path, grid)
        state = _read_weights(model, path)
        misfits = _misfits(model.state_dict(), state)
        if misfits:
            shown = "; ".join(misfits[:LISTED_KEYS])
            rest = f"; and {len(misfits) - LISTED_KEYS} more" if len(misfits) > LISTED_KEYS else ""
            raise InputError(f"weights {path} are of another model: {shown}{rest}")
        check_floats(model.state_dict(), state, f"weights {path}")
        model.load_state_dict(state, strict=True)
    except InputError:
        raise
    except Exception as error:  # torch, safetensors and pickle each have their own; the user needs the reason
        reason = " ".join(str(error).split())
        raise InputError(f"weights {path} do not load into the model: {reason}") from error


def _random_model(name: str, stem: str, seed: int) -> tuple[Any, ImageEncoder, Grid]:
    """open_clip's model with random weights, its image tower, and the grid of the tower's positions."""
    with torch.random.fork_rng(devices=[]), _quiet_open_clip():
        torch.manual_seed(seed)
        model = open_clip.create_model(name, pretrained=None, force_custom_text=True, pretrained_text=False)
        if stem == "conv":
            if not hasattr(model.visual, "conv1") or not hasattr(model.visual, "transformer"):
                raise InputError(f"model.stem: conv needs open_clip's own vision transformer; {name} has none")
            model.visual.conv1 = ConvStem(model.visual.transformer.width, model.visual.patch_size[0])
    encoder = wrap_image_tower(model.visual)
    return model, encoder, native_grid(model.visual, open_clip.get_model_config(name)["vision_cfg"]["image_size"])


def load_clip(settings: ModelSettings, seed: int = 0) -> Clip:
    """Build a CLIP in float32 on the CPU.

    Args:
        settings: Which model, with which weights, for which images; the position embedding is resized to the grid of
            the image size and the stride. ``camera_embedding`` is for stage 2 alone.
        seed: For weights that are not loaded.

    Raises:
        InputError: Unknown model, tag or built-in weights, a weights file that does not fit (the keys are listed), or
            a size or stride that the tower cannot take.
    """
    registered = _registered_name(settings.name)
    model, encoder, source = _random_model(registered, settings.stem, seed)
    text_encoder = TextEncoder(model.text)
    digest = ""
    if settings.pretrained is not None:
        path = _weights_file(registered, settings.pretrained)
        _load_weights(model, path, source)
        digest = sha256_of_file(path)
    grid = set_grid(model.visual, source, settings.image_size, settings.stride)
    return Clip(
        image_encoder=encoder,
        text_encoder=text_encoder,
        logit_scale=model.logit_scale,
        tokenizer=open_clip.get_tokenizer(registered),
        spec=ClipSpec.of(settings, grid),
        weights_sha256=digest,
    )


def build_image_encoder(spec: ClipSpec) -> ImageEncoder:
    """An image encoder of the given architecture with random weights, to load a checkpoint into.

    Raises:
        InputError: The model is unknown here, or its grid is another.
    """
    model, encoder, source = _random_model(_registered_name(spec.name), spec.stem, seed=0)
    grid = set_grid(model.visual, source, spec.image_size, spec.stride)
    if grid != spec.grid:
        raise InputError(f"the checkpoint's grid {spec.grid} is not the grid {grid} of its image size")
    return encoder


def clip_state(clip: Clip) -> dict[str, Tensor]:
    """All weights under open_clip's own key names (custom-text layout), so that any open_clip program loads them."""
    state = {f"visual.{key}": value for key, value in clip.image_encoder.tower.state_dict().items()}
    state |= {f"text.{key}": value for key, value in clip.text_encoder.tower.state_dict().items()}
    state["logit_scale"] = clip.logit_scale.detach()
    return {key: value.detach().cpu().contiguous() for key, value in state.items()}
