"""Where an encoder looks: attention of the class token, attention rollout, Grad-CAM, and gradients, as grids of mass.

A map is (B, rows, columns), not negative. Its cells lie on the image as the encoder's patches do, so that the share of
its mass on any region is an exact sum, see :func:`mass_on`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from timm.layers import HybridEmbed
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.image_encoder import ImageEncoder, ImageFeatures, ResNetEncoder, TransformerEncoder
from pipeline.models.timm_encoders import StagedEncoder, TimmTransformerEncoder

MapKind = Literal["attention", "rollout", "grad-cam", "gradient"]
MAP_KINDS: tuple[MapKind, ...] = get_args(MapKind)
MEANINGS: dict[MapKind, str] = {
    "attention": "attention of the class token in the last block, mean over the heads",
    "rollout": "attention of the class token through all blocks (Abnar and Zuidema 2020)",
    "grad-cam": "gradient times activation before the last block (networks of stages: after the last); Grad-CAM takes "
    "its positive part, here it is its size, for a cosine has as much of the one sign as of the other",
    "gradient": "size of the gradient at each pixel, summed over its channels",
}

Score = Callable[[ImageFeatures], Tensor]
"""Features of a batch -> a number for each image, (B,), whose gradient is taken."""


@dataclass(frozen=True)
class Layout:
    """How the cells of a map lie on the image.

    Attributes:
        cell: Height and width of a cell in pixels.
        step: Pixels from one cell to the next, down and to the right.
    """

    cell: tuple[int, int]
    step: tuple[int, int]


PIXELS = Layout((1, 1), (1, 1))


def _blocks(encoder: ImageEncoder) -> Sequence[Any]:
    """The transformer's blocks; none of a network of stages."""
    if isinstance(encoder, TransformerEncoder):
        return list(encoder.tower.transformer.resblocks)
    if isinstance(encoder, TimmTransformerEncoder):
        return list(encoder.tower.trunk.blocks)
    return []


def _prefix(encoder: ImageEncoder) -> int:
    """Tokens of a transformer before its patches."""
    return encoder.prefix if isinstance(encoder, TimmTransformerEncoder) else 1


def _tells_attention(block: Any) -> bool:
    attention = getattr(block, "attn", None)
    if isinstance(attention, nn.MultiheadAttention):
        return bool(attention.batch_first)
    return hasattr(attention, "fused_attn") and isinstance(getattr(attention, "attn_drop", None), nn.Module)


def available_maps(encoder: ImageEncoder) -> tuple[MapKind, ...]:
    """The maps that an encoder can be asked for: gradients of every one, attention where there is a class token."""
    blocks = _blocks(encoder)
    if blocks and _prefix(encoder) and all(_tells_attention(block) for block in blocks):
        return MAP_KINDS
    return ("grad-cam", "gradient")


def choose_maps(encoders: Sequence[ImageEncoder], wanted: Sequence[MapKind] | None) -> tuple[MapKind, ...]:
    """The maps that all encoders have; with ``wanted`` those.

    Raises:
        InputError: One of the wanted maps is not to be had.
    """
    common = tuple(kind for kind in MAP_KINDS if all(kind in available_maps(encoder) for encoder in encoders))
    for kind in wanted or ():
        if kind not in common:
            raise InputError(f"figures.maps: these networks have no map {kind}; they have: {', '.join(common)}")
    return tuple(dict.fromkeys(wanted)) if wanted else common


def patch_layout(encoder: ImageEncoder, image_size: tuple[int, int]) -> Layout:
    """How patches (of a network of stages: the last stage's cells) lie on an image of this height and width."""
    if isinstance(encoder, ResNetEncoder | StagedEncoder):
        with torch.no_grad():
            rows, columns = _last_stage_size(encoder, image_size)
        step = (image_size[0] // rows, image_size[1] // columns)
        return Layout(step, step)
    if isinstance(encoder, TimmTransformerEncoder):
        embedding = encoder.tower.trunk.patch_embed
        if isinstance(embedding, HybridEmbed):
            whole = (image_size[0] // embedding.grid_size[0], image_size[1] // embedding.grid_size[1])
            return Layout(whole, whole)
        return Layout(_two(embedding.patch_size), _two(embedding.proj.stride))
    tower = encoder.tower
    cell = _two(tower.patch_size)
    return Layout(cell, _two(tower.conv1.stride) if isinstance(tower.conv1, nn.Conv2d) else cell)


def _two(values: Sequence[int]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _last_stage(encoder: ImageEncoder) -> nn.Module:
    """The module of a network of stages that puts out the last feature maps."""
    found: nn.Module = encoder.last_maps if isinstance(encoder, StagedEncoder) else encoder.tower.layer4
    return found


def _last_stage_size(encoder: ImageEncoder, image_size: tuple[int, int]) -> tuple[int, int]:
    seen: list[Tensor] = []
    weight = next(encoder.tower.parameters())
    images = torch.zeros(1, 3, *image_size, device=weight.device, dtype=weight.dtype)
    handle = _last_stage(encoder).register_forward_hook(lambda _module, _arguments, output: seen.append(output))
    try:
        encoder(images)
    finally:
        handle.remove()
    return int(seen[0].shape[2]), int(seen[0].shape[3])


def _grid(encoder: ImageEncoder, image_size: tuple[int, int]) -> tuple[int, int]:
    layout = patch_layout(encoder, image_size)
    rows, columns = (
        (size - cell) // step + 1 for size, cell, step in zip(image_size, layout.cell, layout.step, strict=True)
    )
    return rows, columns


@contextmanager
def _attention(blocks: Sequence[Any], seen: list[Tensor]) -> Iterator[None]:
    """While this is open, each block's attention, mean over the heads, (B, L, L), is added to ``seen`` in order."""

    def torch_hook(module: nn.MultiheadAttention, arguments: tuple[Tensor, ...], _output: object) -> None:
        # the block asks for no weights: the module's own forward gives them, called past this hook
        _, weights = nn.MultiheadAttention.forward(module, arguments[0], arguments[1], arguments[2], need_weights=True)
        assert weights is not None  # they were asked for
        seen.append(weights)

    def timm_hook(_module: nn.Module, _arguments: object, output: Tensor) -> None:
        seen.append(output.mean(dim=1))

    with ExitStack() as stack:
        for block in blocks:
            attention = block.attn
            if isinstance(attention, nn.MultiheadAttention):
                handle = attention.register_forward_hook(torch_hook)
            else:
                stack.callback(setattr, attention, "fused_attn", attention.fused_attn)
                attention.fused_attn = False  # the fused form computes no weights that could be seen
                handle = attention.attn_drop.register_forward_hook(timm_hook)
            stack.callback(handle.remove)
        yield


def roll_out(attentions: Sequence[Tensor]) -> Tensor:
    """Attention rollout: the product of (A + 1) / 2 over the blocks, the last on the left; (B, L, L)."""
    rolled = None
    for attention in attentions:
        mixed = (attention + torch.eye(attention.shape[1], device=attention.device, dtype=attention.dtype)) / 2
        rolled = mixed if rolled is None else mixed @ rolled
    if rolled is None:
        raise ValueError("rollout of no blocks")
    return rolled


@torch.no_grad()
def attention_maps(
    encoder: ImageEncoder, images: Tensor, cameras: Tensor | None, kinds: Sequence[MapKind]
) -> dict[MapKind, Tensor]:
    """Maps ``attention`` and ``rollout``, as far as they are in ``kinds``, of normalised images (B, 3, H, W)."""
    blocks = _blocks(encoder)
    seen: list[Tensor] = []
    with _attention(blocks if "rollout" in kinds else blocks[-1:], seen):
        encoder(images, cameras)
    rows, columns = _grid(encoder, (images.shape[2], images.shape[3]))
    found: dict[MapKind, Tensor] = {}
    if "attention" in kinds:
        found["attention"] = seen[-1][:, 0, 1:]
    if "rollout" in kinds:
        found["rollout"] = roll_out(seen)[:, 0, 1:]
    return {kind: mass.float().reshape(-1, rows, columns) for kind, mass in found.items()}


@contextmanager
def _watch(encoder: ImageEncoder, kept: list[Tensor]) -> Iterator[None]:
    """While this is open, what Grad-CAM looks at is kept: tokens that enter the last block, or the last stage."""

    def before(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tokens = arguments[0]
        if not tokens.requires_grad:
            tokens = tokens.detach().requires_grad_()
        kept.append(tokens)
        return (tokens, *arguments[1:])

    def after(_module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        kept.append(output)
        return output

    blocks = _blocks(encoder)
    handle = (
        blocks[-1].register_forward_pre_hook(before) if blocks else _last_stage(encoder).register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()


def gradient_maps(
    encoder: ImageEncoder, images: Tensor, cameras: Tensor | None, score: Score, kinds: Sequence[MapKind]
) -> dict[MapKind, Tensor]:
    """Maps ``grad-cam`` and ``gradient``, as far as they are in ``kinds``; weights get no gradients.

    Args:
        encoder: In evaluation mode; the images of a batch do not depend on each other.
        images: Normalised, (B, 3, H, W).
        cameras: See :meth:`ImageEncoder.forward`.
        score: What the gradient is of.
        kinds: Which maps.
    """
    pixels = images.detach().requires_grad_("gradient" in kinds)
    kept: list[Tensor] = []
    frozen = [weight for weight in encoder.parameters() if weight.requires_grad]
    with torch.enable_grad(), ExitStack() as stack:
        for weight in frozen:
            weight.requires_grad_(False)
            stack.callback(weight.requires_grad_, True)
        if "grad-cam" in kinds:
            stack.enter_context(_watch(encoder, kept))
        total = score(encoder(pixels, cameras)).sum()
        sources = [*kept, *([pixels] if "gradient" in kinds else [])]
        gradients = torch.autograd.grad(total, sources)
    found: dict[MapKind, Tensor] = {}
    if "grad-cam" in kinds:
        found["grad-cam"] = _grad_cam(encoder, kept[0].detach(), gradients[0], (images.shape[2], images.shape[3]))
    if "gradient" in kinds:
        found["gradient"] = gradients[-1].abs().sum(dim=1).float()
    return found


def _grad_cam(encoder: ImageEncoder, values: Tensor, gradients: Tensor, image_size: tuple[int, int]) -> Tensor:
    product = (values * gradients).float()
    if product.ndim == 4:  # (B, C, rows, columns)
        return product.sum(dim=1).abs()
    return product[:, _prefix(encoder) :].sum(dim=2).abs().reshape(-1, *_grid(encoder, image_size))


def layout_of(kind: MapKind, encoder: ImageEncoder, image_size: tuple[int, int]) -> Layout:
    """How the cells of a map lie on images of this height and width."""
    return PIXELS if kind == "gradient" else patch_layout(encoder, image_size)


def coverage(region: Tensor, layout: Layout) -> Tensor:
    """Share of each cell that a region covers: (B, H, W) in [0, 1] -> (B, rows, columns)."""
    return F.avg_pool2d(region[:, None], layout.cell, layout.step)[:, 0]


def mass_on(mass: Tensor, region: Tensor, layout: Layout) -> Tensor:
    """Share of a map's mass on a region, (B,), the mass of a cell spread evenly over it; NaN where there is no mass.

    Args:
        mass: (B, rows, columns).
        region: (B, H, W) in [0, 1], at the encoder's image size.
        layout: Of the cells.
    """
    covered = coverage(region, layout).to(mass.dtype)
    return (mass * covered).sum(dim=(1, 2)) / mass.sum(dim=(1, 2))
