"""Small networks of the real library, checkpoints written by its own checkpointer, and weights with known outputs."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import nn

from pipeline.parsing.detectron2 import compat

BACKBONE = {
    "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
    "RESNETS": {
        "DEPTH": 50, "RES2_OUT_CHANNELS": 16, "STEM_OUT_CHANNELS": 8, "WIDTH_PER_GROUP": 4,
        "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    },
    "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "OUT_CHANNELS": 8},
}  # fmt: skip
SEM_SEG_HEAD = {"IN_FEATURES": ["p2", "p3", "p4", "p5"], "CONVS_DIM": 8, "NORM": ""}
WHOLE_IMAGE = 4096
"""Anchors of this size cover every image, so that each proposal is the image itself."""


def mask_rcnn(classes: int, anchor: int = WHOLE_IMAGE) -> dict:
    return {
        "VERSION": 2,
        "MODEL": {
            "META_ARCHITECTURE": "GeneralizedRCNN",
            "MASK_ON": True,
            **BACKBONE,
            "ANCHOR_GENERATOR": {"SIZES": [[anchor]] * 5, "ASPECT_RATIOS": [[1.0]]},
            "RPN": {"IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"], "PRE_NMS_TOPK_TEST": 20, "POST_NMS_TOPK_TEST": 8},
            "ROI_HEADS": {
                "NAME": "StandardROIHeads", "IN_FEATURES": ["p2", "p3", "p4", "p5"], "NUM_CLASSES": classes,
            },
            "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 16, "POOLER_RESOLUTION": 7},
            "ROI_MASK_HEAD": {"NUM_CONV": 1, "CONV_DIM": 8, "POOLER_RESOLUTION": 14},
        },
    }  # fmt: skip


def semantic(classes: int) -> dict:
    return {
        "VERSION": 2,
        "MODEL": {
            "META_ARCHITECTURE": "SemanticSegmentor",
            **BACKBONE,
            "SEM_SEG_HEAD": {**SEM_SEG_HEAD, "NUM_CLASSES": classes},
        },
    }


def panoptic(classes: int) -> dict:
    tree = mask_rcnn(classes)
    tree["MODEL"] |= {"META_ARCHITECTURE": "PanopticFPN", "SEM_SEG_HEAD": {**SEM_SEG_HEAD, "NUM_CLASSES": classes}}
    return tree


def point_rend(classes: int) -> dict:
    tree = mask_rcnn(classes)
    tree["MODEL"]["ROI_MASK_HEAD"] |= {
        "NAME": "PointRendMaskHead", "FC_DIM": 16, "NUM_FC": 1, "CONV_DIM": 8, "OUTPUT_SIDE_RESOLUTION": 7,
        "IN_FEATURES": ["p2"], "POINT_HEAD_ON": True, "POOLER_TYPE": "", "POOLER_RESOLUTION": 14,
    }  # fmt: skip
    tree["MODEL"]["POINT_HEAD"] = {
        "NUM_CLASSES": classes, "FC_DIM": 8, "NUM_FC": 1, "IN_FEATURES": ["p2"], "SUBDIVISION_STEPS": 2,
        "SUBDIVISION_NUM_POINTS": 49,
    }  # fmt: skip
    return tree


def deep_lab(classes: int) -> dict:
    tree = semantic(classes)
    tree["MODEL"]["BACKBONE"] = {"NAME": "build_resnet_deeplab_backbone"}
    tree["MODEL"]["RESNETS"] = {**BACKBONE["RESNETS"], "OUT_FEATURES": ["res2", "res5"], "RES5_DILATION": 2}
    tree["MODEL"]["SEM_SEG_HEAD"] = {
        "NAME": "DeepLabV3PlusHead", "IN_FEATURES": ["res2", "res5"], "NUM_CLASSES": classes, "CONVS_DIM": 8,
        "ASPP_CHANNELS": 8, "PROJECT_CHANNELS": [4], "COMMON_STRIDE": 4, "NORM": "BN",
    }  # fmt: skip
    return tree


def built(tree: dict, seed: int = 0) -> nn.Module:
    """The network of a configuration, built by the library alone."""
    compat.require_library()
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model
    from detectron2.projects.deeplab import add_deeplab_config
    from detectron2.projects.point_rend import add_pointrend_config

    cfg = get_cfg()
    add_pointrend_config(cfg)
    add_deeplab_config(cfg)
    cfg.merge_from_other_cfg(type(cfg)(tree))
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(seed)
    return build_model(cfg).eval()


def saved(folder: Path, tree: dict, network: nn.Module) -> dict[str, str]:
    """Settings of the parser for a network: its configuration, and its checkpoint as the library writes it."""
    from detectron2.checkpoint import DetectionCheckpointer

    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    DetectionCheckpointer(network, str(folder)).save("model", iteration=7)
    return {"config": str(folder / "config.yaml"), "weights": str(folder / "model.pth")}


def _set(layer: nn.Module, bias: Sequence[float]) -> None:
    nn.init.zeros_(layer.weight)
    layer.bias.data = torch.tensor(bias, dtype=torch.float32)


def fix_instances(
    network: nn.Module, scores: Sequence[float], boxes: Sequence[tuple[float, float, float, float]], mask: float = 5.0
) -> None:
    """Make a network of whole-image anchors find one instance a class, whatever it is shown.

    Args:
        network: Of :func:`mask_rcnn`.
        scores: Of each class; their sum is below 1, the rest is the background's.
        boxes: Of each class, as shares of the image: left, top, right, bottom.
        mask: Logit of every mask pixel.
    """
    rpn, heads = network.proposal_generator.rpn_head, network.roi_heads
    for layer in (rpn.conv, rpn.objectness_logits, rpn.anchor_deltas):
        _set(layer, [0.0] * len(layer.bias))
    _set(heads.box_predictor.cls_score, [math.log(score) for score in (*scores, 1 - sum(scores))])
    deltas: list[float] = []
    for left, top, right, bottom in boxes:  # detectron2 weighs shifts by 10 and logarithms of sizes by 5
        deltas += [10 * ((left + right) / 2 - 0.5), 10 * ((top + bottom) / 2 - 0.5)]
        deltas += [5 * math.log(right - left), 5 * math.log(bottom - top)]
    _set(heads.box_predictor.bbox_pred, deltas)
    _set(heads.mask_head.predictor, [mask] * len(scores))


def fix_semantic(network: nn.Module, logits: Sequence[float]) -> None:
    """Make a semantic head give the same logits everywhere, whatever it is shown."""
    _set(network.sem_seg_head.predictor, logits)
