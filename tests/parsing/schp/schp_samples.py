"""Files in the layout of the published weights of SCHP, with random values.

The layout is written down here from the public code (networks/AugmentCE2P.py of GoGoDuck912/Self-Correction-Human-
Parsing), apart from the package: names and shapes, 603 tensors.
"""

import cv2
import numpy as np
import torch

PUBLISHED_TENSORS = 603
CLASSES = {"lip": 20, "atr": 18, "pascal": 7}
FILES = {
    "lip": "exp-schp-201908261155-lip.pth",
    "atr": "exp-schp-201908301523-atr.pth",
    "pascal": "exp-schp-201908270938-pascal-person-part.pth",
}


def norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def bottleneck(name, inputs, channels, first):
    layout = {
        f"{name}.conv1.weight": (channels, inputs, 1, 1),
        **norm(f"{name}.bn1", channels),
        f"{name}.conv2.weight": (channels, channels, 3, 3),
        **norm(f"{name}.bn2", channels),
        f"{name}.conv3.weight": (4 * channels, channels, 1, 1),
        **norm(f"{name}.bn3", 4 * channels),
    }
    if first:
        layout[f"{name}.downsample.0.weight"] = (4 * channels, inputs, 1, 1)
        layout |= norm(f"{name}.downsample.1", 4 * channels)
    return layout


def published_layout(classes):
    """Name (without prefix) and shape of every tensor."""
    layout = {}
    for number, (inputs, outputs) in enumerate(((3, 64), (64, 64), (64, 128)), 1):
        layout[f"conv{number}.weight"] = (outputs, inputs, 3, 3)
        layout |= norm(f"bn{number}", outputs)
    for level, (blocks, inputs, channels) in enumerate(
        ((3, 128, 64), (4, 256, 128), (23, 512, 256), (3, 1024, 512)), 1
    ):
        for block in range(blocks):
            layout |= bottleneck(
                f"layer{level}.{block}", inputs if block == 0 else 4 * channels, channels, first=block == 0
            )
    for stage in range(4):
        layout[f"context_encoding.stages.{stage}.1.weight"] = (512, 2048, 1, 1)
        layout |= norm(f"context_encoding.stages.{stage}.2", 512)
    layout["context_encoding.bottleneck.0.weight"] = (512, 4096, 3, 3)
    layout |= norm("context_encoding.bottleneck.1", 512)
    for number, inputs in enumerate((256, 512, 1024), 1):
        layout[f"edge.conv{number}.0.weight"] = (256, inputs, 1, 1)
        layout |= norm(f"edge.conv{number}.1", 256)
    layout |= {"edge.conv4.weight": (2, 256, 3, 3), "edge.conv4.bias": (2,)}
    layout |= {"edge.conv5.weight": (2, 6, 1, 1), "edge.conv5.bias": (2,)}
    for name, inputs, outputs, place in (
        ("conv1", 512, 256, 0),
        ("conv2", 256, 48, 0),
        ("conv3", 304, 256, 0),
        ("conv3", 256, 256, 2),
    ):
        layout[f"decoder.{name}.{place}.weight"] = (outputs, inputs, 1, 1)
        layout |= norm(f"decoder.{name}.{place + 1}", outputs)
    layout |= {"decoder.conv4.weight": (classes, 256, 1, 1), "decoder.conv4.bias": (classes,)}
    layout["fushion.0.weight"] = (256, 1024, 1, 1)
    layout |= norm("fushion.1", 256)
    layout |= {"fushion.3.weight": (classes, 256, 1, 1), "fushion.3.bias": (classes,)}
    return layout


def random_tensors(variant="lip", seed=0):
    """Values that keep features in a sensible range; norm weights of both signs, statistics that matter."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in published_layout(CLASSES[variant]).items():
        values = torch.randn(shape, generator=generator)
        if len(shape) == 4:
            values *= (2 / values[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            values = 0.5 + values.abs()
        elif not name.endswith("weight"):
            values *= 0.1
        elif "bn3" in name:
            values *= 0.3  # else 33 residual blocks add up
        tensors[name] = values
    return tensors


def pictures(*sizes):
    """Large patches of colour, so that a network of random values has something to tell apart."""
    rng = np.random.default_rng(1)
    patches = [rng.integers(0, 256, (4, 3, 3), dtype=np.uint8) for _ in sizes]
    return [
        cv2.resize(each, size[::-1], interpolation=cv2.INTER_CUBIC) for each, size in zip(patches, sizes, strict=True)
    ]


def save_published(path, tensors, legacy=True, **more):
    """Write as the published files are written: in 2019, so in the format before PyTorch 1.6 unless told otherwise."""
    content = {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}, **more}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path
