"""Small SegFormers of random weights, saved as the public ones are."""

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
