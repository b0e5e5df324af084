"""Any open_clip model by name, with a non-square grid: the one way in which the project builds a CLIP."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import open_clip
import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.checkpoint_fields import NetworkFields
from pipeline.models.clip_weights import ClipWeights, fit_weights, fits_input, for_grid, read_clip_weights
from pipeline.models.grids import Grid, native_grid, set_grid
from pipeline.models.image_encoder import ImageEncoder
from pipeline.models.settings import ModelSettings
from pipeline.models.stem import ConvStem
from pipeline.models.text_encoder import TextEncoder
from pipeline.models.tokens import Tokenizer, load_tokenizer
from pipeline.models.towers import wrap_image_tower

CONFIG_FOLDER = Path(__file__).parent / "configs"

SENTENCE: Final = "A photo of a person."
"""What a tokenizer is tried with; the mark of its end has the largest number of CLIP's vocabulary."""


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
        values = settings.model_dump(exclude={"pretrained", "tokenizer", "camera_embedding"})
        return cls(grid=grid, **values)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "ClipSpec":
        """Inverse of :meth:`to_dict` (JSON turns tuples into lists).

        Raises:
            InputError: A field is missing, unknown or of another type.
        """
        plain = {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
        found = NetworkFields.check(plain, "the model description in the checkpoint", "train it again").model_dump()
        fields: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in found.items()}
        return cls(**fields)


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
        note: What the user should know about how the file was read; empty: nothing.
        logit_bias: SigLIP's, a scalar parameter; the same for all pairs, it changes no softmax over them.
    """

    image_encoder: ImageEncoder
    text_encoder: TextEncoder
    logit_scale: nn.Parameter
    tokenizer: Tokenizer
    spec: ClipSpec
    weights_sha256: str
    note: str = ""
    logit_bias: nn.Parameter | None = None

    def freeze(self) -> "Clip":
        """Take all weights out of training: no gradients, evaluation mode."""
        self.logit_scale.requires_grad_(False)
        if self.logit_bias is not None:
            self.logit_bias.requires_grad_(False)
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


def _loaded_model(settings: ModelSettings, seed: int, text: bool) -> tuple[Any, ImageEncoder, Grid, ClipWeights | None]:
    """The model with its weights for the size of the images, the encoder around its image tower, the grid."""
    name = _registered_name(settings.name)
    model, encoder, source = _random_model(name, settings.stem, seed)
    weights = None if settings.pretrained is None else read_clip_weights(settings, name, text)
    if weights is not None:
        weights = for_grid(model, weights, source)
    late = weights is not None and fits_input(model, weights)
    if weights is not None and not late:
        fit_weights(model, weights, source)
    grid = set_grid(model.visual, source, settings.image_size, settings.stride)
    if weights is not None and late:
        fit_weights(model, weights, grid)
    return model, encoder, grid, weights


def load_clip(settings: ModelSettings, seed: int = 0) -> Clip:
    """Build a CLIP in float32 on the CPU.

    Args:
        settings: Which model, with which weights, for which images; the position embedding is resized to the grid of
            the image size and the stride. ``camera_embedding`` is for stage 2 alone.
        seed: For weights that are not loaded.

    Raises:
        InputError: Unknown model, tag or built-in weights, a weights file that does not fit (the keys are listed) or
            has no text encoder, a size or stride that the tower cannot take, or a tokenizer of another vocabulary.
    """
    model, encoder, grid, weights = _loaded_model(settings, seed, text=True)
    text_encoder = TextEncoder(model.text)
    tokenizer = load_tokenizer(_registered_name(settings.name), settings.tokenizer)
    last = int(tokenizer([SENTENCE]).max())
    if last >= text_encoder.vocabulary:
        raise InputError(
            f"model {settings.name}: its text encoder knows {text_encoder.vocabulary:,} tokens, and its tokenizer "
            f"gives number {last:,}: they belong to different models (text_cfg.vocab_size, or model.tokenizer)"
        )
    return Clip(
        image_encoder=encoder,
        text_encoder=text_encoder,
        logit_scale=model.logit_scale,
        tokenizer=tokenizer,
        spec=ClipSpec.of(settings, grid),
        weights_sha256=weights.sha256 if weights else "",
        note=weights.note if weights else "",
        logit_bias=model.logit_bias,
    )


@dataclass(frozen=True)
class LoadedEncoder:
    """The image encoder of a CLIP, without its text encoder.

    Attributes:
        encoder: E_v.
        spec: Its architecture.
        weights_sha256: Hash of the weights' file; empty for random weights.
        note: What the user should know about how the file was read; empty: nothing.
    """

    encoder: ImageEncoder
    spec: ClipSpec
    weights_sha256: str
    note: str


def load_image_encoder(settings: ModelSettings, seed: int = 0) -> LoadedEncoder:
    """The image encoder of :func:`load_clip`; its weights may be of a file that has no text encoder.

    Args:
        settings: See :func:`load_clip`.
        seed: For weights that are not loaded.

    Raises:
        InputError: See :func:`load_clip`.
    """
    _, encoder, grid, weights = _loaded_model(settings, seed, text=False)
    spec = ClipSpec.of(settings, grid)
    return LoadedEncoder(encoder, spec, weights.sha256 if weights else "", weights.note if weights else "")


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
    if clip.logit_bias is not None:
        state["logit_bias"] = clip.logit_bias.detach()
    return {key: value.detach().cpu().contiguous() for key, value in state.items()}
