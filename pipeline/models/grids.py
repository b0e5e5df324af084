"""Input size and position grid of an image tower: read once, set once, never guessed from a number of rows."""

from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from timm.layers import HybridEmbed, resample_abs_pos_embed
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.positions import resize_positions
from pipeline.models.stem import ConvStem
from pipeline.models.timm_encoders import is_eva, is_staged, is_timm_transformer

RESNET_STRIDE = 32
DENSE_RESNET_STRIDE = 16

Grid = tuple[int, int]


def native_grid(tower: Any, square_size: int | None = None) -> Grid:
    """Height and width of the grid that a freshly made tower has.

    Args:
        tower: An open_clip image tower.
        square_size: Input size of a ResNet or another network of stages, which keeps no grid.
    """
    if is_timm_transformer(tower):
        height, width = tower.trunk.patch_embed.grid_size
    elif is_staged(tower):
        height = width = -(-(square_size or 0) // _total_stride(tower.trunk))
    elif isinstance(tower, ModifiedResNet):
        height = width = (square_size or 0) // RESNET_STRIDE
    else:
        height, width = tower.grid_size
    return int(height), int(width)


def _patches(image_size: tuple[int, int], patch: tuple[int, int], stride: int | None) -> Grid:
    """Patches that fit; a rest at the right and the lower edge that is smaller than a stride is not seen."""
    steps = (stride, stride) if stride else patch
    if stride and stride > min(patch):
        raise InputError(f"model.stride {stride} is larger than the patch ({patch[0]}): pixels would be left out")
    if image_size[0] < patch[0] or image_size[1] < patch[1]:
        raise InputError(f"model.image_size {image_size[0]}x{image_size[1]} is smaller than the patch")
    return (image_size[0] - patch[0]) // steps[0] + 1, (image_size[1] - patch[1]) // steps[1] + 1


def _whole_strides(image_size: tuple[int, int], total: int) -> Grid:
    if image_size[0] % total or image_size[1] % total:
        raise InputError(f"model.image_size {image_size[0]}x{image_size[1]} is not a multiple of {total}x{total}")
    return image_size[0] // total, image_size[1] // total


def _resnet_patches(tower: ModifiedResNet, image_size: tuple[int, int], stride: int | None) -> Grid:
    """A total stride of 16 is CLIP-ReID's: the last stage no longer halves the resolution; no weight changes."""
    if stride not in (None, RESNET_STRIDE, DENSE_RESNET_STRIDE):
        raise InputError(f"model.stride {stride}: a ResNet has a stride of {RESNET_STRIDE} or {DENSE_RESNET_STRIDE}")
    if stride == DENSE_RESNET_STRIDE:
        first = tower.layer4[0]
        first.avgpool = nn.Identity()
        first.downsample[0] = nn.Identity()
    return _whole_strides(image_size, stride or RESNET_STRIDE)


def _resized(positions: Tensor, source: Grid, grid: Grid) -> nn.Parameter:
    with torch.no_grad():
        return nn.Parameter(resize_positions(positions.detach(), source, grid).clone())


def _total_stride(trunk: Any) -> int:
    """Pixels of an image from one cell of the last feature map to the next, of a network of stages."""
    return int(trunk.feature_info[-1]["reduction"])


def _set_stages(trunk: Any, image_size: tuple[int, int], stride: int | None) -> Grid:
    """A network of stages has no positions; as in a ResNet, the last halving can be left out of an EfficientNet."""
    total = _total_stride(trunk)
    halved = total // 2
    mobile = isinstance(trunk, EfficientNet)
    if stride not in (None, total, *([halved] if mobile else [])):
        also = f" or {halved}" if mobile else ""
        raise InputError(f"model.stride {stride}: {type(trunk).__name__} has a stride of {total}{also}")
    if stride == halved:
        strided = [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)]
        strided[-1].stride = (1, 1)
    return _whole_strides(image_size, stride or total)


def _resample(tower: Any, source: Grid, grid: Grid) -> None:
    """Fit a timm transformer's positions to a grid: as timm does, but EVA's bilinearly, as those of open_clip's own."""
    trunk = tower.trunk
    if is_eva(tower):
        resized = _resized(trunk.pos_embed[0], source, grid)[None].detach().clone()
    else:
        tokens = 0 if trunk.no_embed_class else trunk.num_prefix_tokens
        resized = resample_abs_pos_embed(trunk.pos_embed.detach(), list(grid), list(source), tokens).clone()
    trunk.pos_embed = nn.Parameter(resized)


def _set_timm_transformer(tower: Any, source: Grid, image_size: tuple[int, int], stride: int | None) -> Grid:
    trunk = tower.trunk
    embed = trunk.patch_embed
    if isinstance(embed, HybridEmbed):
        total = embed.img_size[0] // embed.grid_size[0]
        if stride not in (None, total):
            raise InputError(f"model.stride {stride}: convolutions make this tower's patches, in steps of {total}")
        grid = _whole_strides(image_size, total)
        embed.feature_size = grid
    else:
        grid = _patches(image_size, tuple(embed.patch_size), stride)
        if stride:
            embed.proj.stride = (stride, stride)
    if trunk.pos_embed is not None:
        _resample(tower, source, grid)
    if getattr(trunk, "rope", None) is not None:
        trunk.rope.update_feat_shape(list(grid))  # coordinates stay those of the grid that was trained on
    embed.img_size, embed.grid_size, embed.num_patches = image_size, grid, grid[0] * grid[1]
    return grid


def set_grid(tower: Any, source: Grid, image_size: tuple[int, int], stride: int | None = None) -> Grid:
    """Fit the tower to ``image_size``: positions are resized, the patch stride is set; returns the new grid.

    Args:
        tower: An open_clip image tower.
        source: Grid of its position embedding.
        image_size: Height and width in pixels.
        stride: Pixels between two patches; None: the patch size. For networks of stages their total stride: 32,
            or 16 of a ResNet or an EfficientNet.

    Raises:
        InputError: The size or the stride does not fit the tower.
    """
    if is_timm_transformer(tower):
        grid = _set_timm_transformer(tower, source, image_size, stride)
    elif is_staged(tower):
        grid = _set_stages(tower.trunk, image_size, stride)
    elif isinstance(tower, ModifiedResNet):
        grid = _resnet_patches(tower, image_size, stride)
        tower.attnpool.positional_embedding = _resized(tower.attnpool.positional_embedding, source, grid)
    else:
        if isinstance(tower.conv1, ConvStem):
            if stride:
                raise InputError("model.stride needs model.stem: patch; a convolutional stem's stride is its patch")
            grid = _whole_strides(image_size, tower.patch_size[0])
        else:
            grid = _patches(image_size, tuple(tower.patch_size), stride)
            if stride:
                tower.conv1.stride = (stride, stride)
        tower.positional_embedding = _resized(tower.positional_embedding, source, grid)
        tower.grid_size = grid
    tower.image_size = image_size
    return grid
