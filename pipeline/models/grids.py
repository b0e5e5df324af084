"""Input size and position grid of an image tower: read once, set once, never guessed from a number of rows."""

from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.image_encoder import is_eva
from pipeline.models.positions import resize_positions
from pipeline.models.stem import ConvStem

RESNET_STRIDE = 32
DENSE_RESNET_STRIDE = 16

Grid = tuple[int, int]


def native_grid(tower: Any, square_size: int | None = None) -> Grid:
    """Height and width of the grid that a freshly made tower has.

    Args:
        tower: An open_clip image tower.
        square_size: Input size of a ResNet, which keeps no grid.
    """
    if is_eva(tower):
        height, width = tower.trunk.patch_embed.grid_size
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


def _set_eva(tower: Any, source: Grid, image_size: tuple[int, int], stride: int | None) -> Grid:
    trunk = tower.trunk
    embed = trunk.patch_embed
    grid = _patches(image_size, tuple(embed.patch_size), stride)
    if trunk.pos_embed is not None:
        trunk.pos_embed = nn.Parameter(_resized(trunk.pos_embed[0], source, grid)[None].detach().clone())
    if trunk.rope is not None:
        trunk.rope.update_feat_shape(list(grid))  # coordinates stay those of the grid that was trained on
    if stride:
        embed.proj.stride = (stride, stride)
    embed.img_size, embed.grid_size, embed.num_patches = image_size, grid, grid[0] * grid[1]
    return grid


def set_grid(tower: Any, source: Grid, image_size: tuple[int, int], stride: int | None = None) -> Grid:
    """Fit the tower to ``image_size``: positions are resized, the patch stride is set; returns the new grid.

    Args:
        tower: An open_clip image tower.
        source: Grid of its position embedding.
        image_size: Height and width in pixels.
        stride: Pixels between two patches; None: the patch size. For a ResNet its total stride, 32 or 16.

    Raises:
        InputError: The size or the stride does not fit the tower.
    """
    if is_eva(tower):
        grid = _set_eva(tower, source, image_size, stride)
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
