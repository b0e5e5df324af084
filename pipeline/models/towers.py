"""Which encoder goes around which image tower of open_clip."""

from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import nn

from pipeline.errors import InputError
from pipeline.models.image_encoder import ImageEncoder, ResNetEncoder, TransformerEncoder
from pipeline.models.timm_encoders import wrap_timm_tower


def wrap_image_tower(tower: nn.Module) -> ImageEncoder:
    """Choose the encoder for an open_clip image tower.

    Raises:
        InputError: The tower is of a kind whose inner features are not known here.
    """
    if isinstance(tower, VisionTransformer) and tower.pool_type == "tok" and tower.attn_pool is None:
        return TransformerEncoder(tower)
    if isinstance(tower, ModifiedResNet):
        return ResNetEncoder(tower)
    encoder = wrap_timm_tower(tower)
    if encoder is not None:
        return encoder
    what = type(getattr(tower, "trunk", tower)).__name__
    raise InputError(
        f"image tower {what} is not supported: choose an open_clip vision transformer with a class token (such as "
        f"ViT-B-16-quickgelu), EVA02, SigLIP2, PE-Core, MobileCLIP, a CLIP ResNet (such as RN50-quickgelu), an "
        f"EfficientNet or a ConvNeXt"
    )
