"""Small models of random weights, saved as the public ones are."""

import numpy as np
import torch

ATR_LIKE = [
    "Background", "Hat", "Hair", "Sunglasses", "Upper-clothes", "Skirt", "Pants", "Dress", "Belt", "Left-shoe",
    "Right-shoe", "Face", "Left-leg", "Right-leg", "Left-arm", "Right-arm", "Bag", "Scarf",
]  # fmt: skip
"""Classes of mattmdjaga/segformer_b2_clothes."""

FASHN = [
    "background", "face", "hair", "top", "dress", "skirt", "pants", "belt", "bag", "hat", "scarf", "glasses", "arms",
    "hands", "legs", "feet", "torso", "jewelry",
]  # fmt: skip
"""Classes of fashn-ai/fashn-human-parser."""


def save_model(folder, classes=ATR_LIKE, seed=0, processor=True, **processing):
    """Write a model with its image processor; returns the folder."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        sr_ratios=[4, 2, 1, 1],
        mlp_ratios=[2, 2, 2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
    )
    torch.manual_seed(seed)
    network = SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():  # as initialised, every pixel would be the same class
        network.decode_head.classifier.weight.normal_(0, 3)
    network.save_pretrained(folder)
    if processor:
        SegformerImageProcessor(**{"size": {"height": 64, "width": 48}, **processing}).save_pretrained(folder)
    return folder


def pictures(*sizes):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


UNIVERSAL = ("mask2former", "oneformer", "eomt", "maskformer")


def _labels(classes):
    return {"id2label": dict(enumerate(classes)), "label2id": {name: number for number, name in enumerate(classes)}}


def _swin():
    from transformers import SwinConfig

    return SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def _mask2former(classes):
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor

    config = Mask2FormerConfig(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=12,
        **_labels(classes),
    )
    network = Mask2FormerForUniversalSegmentation(config)
    return network, network.class_predictor, Mask2FormerImageProcessor(size={"height": 64, "width": 64})


def _maskformer(classes):
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, MaskFormerImageProcessor

    decoder = DetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=12,
    )
    config = MaskFormerConfig(
        backbone_config=_swin(),
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        **_labels(classes),
    )
    network = MaskFormerForInstanceSegmentation(config)
    return network, network.class_predictor, MaskFormerImageProcessor(size={"height": 64, "width": 64})


def _oneformer(classes):
    from transformers import OneFormerConfig, OneFormerForUniversalSegmentation, OneFormerImageProcessor

    config = OneFormerConfig(
        backbone_config=_swin(),
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        query_dec_layers=1,
        num_attention_heads=2,
        num_queries=12,
        task_seq_len=77,
        text_encoder_width=16,
        text_encoder_num_layers=1,
        is_training=False,
        **_labels(classes),
    )
    network = OneFormerForUniversalSegmentation(config)
    head = network.model.transformer_module.decoder.class_embed
    return network, head, OneFormerImageProcessor(size={"height": 64, "width": 64})


def _eomt(classes):
    from transformers import EomtConfig, EomtForUniversalSegmentation, EomtImageProcessor

    config = EomtConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=64,
        patch_size=8,
        num_blocks=1,
        num_queries=12,
        num_upscale_blocks=1,
        **_labels(classes),
    )
    network = EomtForUniversalSegmentation(config)
    side = {"shortest_edge": 64, "longest_edge": 64}
    return network, network.class_predictor, EomtImageProcessor(size=side, do_pad=True)


def save_universal(folder, family, classes=ATR_LIKE, seed=0):
    """Write a model that answers in queries, with its image processor; returns the folder."""
    torch.manual_seed(seed)
    network, head, processor = globals()[f"_{family}"](classes)
    with torch.no_grad():  # as initialised, all queries would be of one class
        head.weight.normal_(0, 6)
        for name, values in network.named_parameters():  # and all masks alike
            if "quer" in name or ("mask" in name and values.dim() > 1):
                values.normal_(0, 0.5)
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
