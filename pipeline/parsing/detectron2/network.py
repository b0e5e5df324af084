"""A trained network of the library, as the parser uses it. Imports the library: see ``compat``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.layers import paste_masks_in_image
from detectron2.modeling import GeneralizedRCNN, PanopticFPN, SemanticSegmentor, detector_postprocess
from detectron2.structures import Instances as FoundInstances
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.files import sha256_of_file, sha256_of_value
from pipeline.images import Mask, RgbImage
from pipeline.parsing.detectron2.classes import ClassMap, HeadKind
from pipeline.parsing.detectron2.compat import has_compiled_operators
from pipeline.parsing.detectron2.configuration import Configured, read_config
from pipeline.parsing.detectron2.weights import load_weights
from pipeline.parsing.instances import Instances

COMPILED_ONLY: Final = {
    "DeformConv": "deformable convolutions",
    "ModulatedDeformConv": "deformable convolutions",
    "RRPN": "rotated boxes",
    "RROIHeads": "rotated boxes",
    "RotatedAnchorGenerator": "rotated boxes",
    "ROIAlignRotated": "rotated boxes",
}
"""Modules that run on the library's compiled operators only, by class name."""


class Detectron2Network:
    """One head of a network: takes an RGB image of any size, gives instances or logits.

    Args:
        configured: The network, with its weights loaded.
        head: Which head is used.
        test_size: Short side that images are scaled to.
        max_size: Longest side that they are scaled to, which wins.
        sha256: Hash of configuration and weights.
    """

    def __init__(self, configured: Configured, head: HeadKind, test_size: int, max_size: int, sha256: str) -> None:
        self._network = configured.network
        self._flip = configured.input_format == "BGR"
        self.head: HeadKind = head
        self._resize = ResizeShortestEdge([test_size, test_size], max_size)
        self.sha256 = sha256

    @torch.inference_mode()
    def instances(self, image: RgbImage) -> Instances:
        """Instances of one image, uint8 (height, width, 3)."""
        raw = self._network.inference([self._input(image)], do_postprocess=False)  # type: ignore[operator]
        if isinstance(self._network, PanopticFPN):
            raw = raw[0]
        height, width = image.shape[:2]
        return _at_own_size(raw[0], height, width)

    @torch.inference_mode()
    def logits(self, images: Sequence[RgbImage], fill_to: int = 1) -> list[Tensor]:
        """Logits of images of one size, each (classes, rows, columns) of the network's input without its padding.

        Args:
            images: uint8 (height, width, 3), of one size.
            fill_to: The batch is filled up to so many images, so that a kernel, and with it the last bits of a sum,
                does not depend on how many images came along.
        """
        inputs = [self._input(image) for image in images]
        inputs += [{"image": torch.zeros_like(inputs[0]["image"])}] * (fill_to - len(inputs))
        if isinstance(self._network, PanopticFPN):
            _, results = self._network.inference(inputs, do_postprocess=False)
        else:
            results = [output["sem_seg"] for output in self._network(inputs)]
        rows, columns = inputs[0]["image"].shape[1:]
        return [result[:, :rows, :columns] for result in results[: len(images)]]

    def _input(self, image: RgbImage) -> dict[str, Any]:
        ordered = image[:, :, ::-1] if self._flip else image
        scaled = self._resize.get_transform(ordered).apply_image(np.ascontiguousarray(ordered))
        return {"image": torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1))).float()}


def _at_own_size(raw: FoundInstances, height: int, width: int) -> Instances:
    """Instances with their boxes scaled to the image; masks are pasted one by one, when they are asked for."""
    masks = raw.pred_masks[:, 0]
    boxes = FoundInstances(raw.image_size, pred_boxes=raw.pred_boxes, row=torch.arange(len(raw), device=masks.device))
    boxes = detector_postprocess(boxes, height, width)  # drops boxes that are empty at this size
    rows = boxes.row
    coordinates = boxes.pred_boxes.tensor

    def paste(index: int) -> tuple[Mask, np.ndarray]:
        mask, box = masks[rows[index]][None], coordinates[index][None]
        inside = paste_masks_in_image(mask, box, (height, width), threshold=0.5)[0]
        # a negative threshold asks for probabilities in steps of 1/255
        chance = paste_masks_in_image(mask, box, (height, width), threshold=-1)[0]
        return inside.cpu().numpy().astype(np.bool_), chance.cpu().numpy().astype(np.float32) / 255

    return Instances(raw.pred_classes[rows].tolist(), raw.scores[rows].tolist(), paste)


def load_network(
    config: Path,
    weights: Path,
    device: str,
    head: HeadKind | None,
    score_threshold: float,
    test_size: int | None,
    max_size: int,
    trust: bool,
    mapped: ClassMap,
    own_config: bool = True,
) -> Detectron2Network:
    """Build a network, load its weights, and choose its head.

    Args:
        config: See :func:`pipeline.parsing.detectron2.configuration.read_config`.
        weights: See :func:`pipeline.parsing.detectron2.weights.load_weights`.
        device: Torch device string.
        head: Which head is used; None: the one that it has.
        score_threshold: See ``read_config``.
        test_size: Short side that images are scaled to; None: as the configuration says.
        max_size: Longest side that they are scaled to.
        trust: Allow files that execute code.
        mapped: What the classes of that head mean.
        own_config: False for a packaged configuration: it has as many classes as are mapped.

    Raises:
        InputError: A file is missing, wrong, not allowed or does not fit, or the network is of an unsupported kind.
    """
    configured = read_config(config, device, score_threshold, trust, None if own_config else len(mapped.names))
    chosen = choose_head(configured.network, head, config)
    check_operators(configured.network, config)
    size = test_size if test_size is not None else configured.test_size
    if size is None:
        raise InputError(f"{config} does not say the test size; set parse.settings.test_size")
    count = configured.instance_classes if chosen == "instances" else configured.semantic_classes
    if count is None:
        raise InputError(f"{config} does not say how many classes its head has (num_classes)")
    mapped.check_count(count, f"{'instance' if chosen == 'instances' else 'semantic'} head of {config}")
    load_weights(configured.network, weights, trust)
    sha256 = sha256_of_value({"config": configured.sha256, "weights": sha256_of_file(weights)})
    return Detectron2Network(configured, chosen, size, max_size, sha256)


def choose_head(network: nn.Module, head: HeadKind | None, config: Path) -> HeadKind:
    """The head that is used: the one asked for, or else the only one.

    Raises:
        InputError: The network does not have it, has two and none is asked for, or is of another kind.
    """
    has: list[str] = []
    if isinstance(network, GeneralizedRCNN):
        if network.proposal_generator is None:
            raise InputError(
                f"{config}: the network needs proposals that were computed beforehand, which is unsupported"
            )
        if getattr(network.roi_heads, "mask_on", False):
            has.append("instances")
    if isinstance(network, SemanticSegmentor | PanopticFPN):
        has.append("sem_seg")
    if not has:
        raise InputError(
            f"{config}: a {type(network).__name__} gives no masks that can be used; supported: GeneralizedRCNN with "
            f"MASK_ON, PanopticFPN, SemanticSegmentor"
        )
    if head is None and len(has) == 2:
        raise InputError(f"{config} has an instance head and a semantic head; choose by parse.settings.head")
    if head is not None and head not in has:
        raise InputError(f"{config} has no head {head}; it has: {', '.join(has)}")
    return head or cast(HeadKind, has[0])


def check_operators(network: nn.Module, config: Path) -> None:
    """Refuse a network whose operators this installation of the library does not have.

    Raises:
        InputError: It has deformable convolutions or rotated boxes, and the library was not compiled.
    """
    if has_compiled_operators():
        return
    for module in network.modules():
        for kind in type(module).__mro__:
            if kind.__name__ in COMPILED_ONLY:
                raise InputError(
                    f"{config} uses {COMPILED_ONLY[kind.__name__]} ({kind.__name__}), which this detectron2, installed "
                    f"without its C++ sources, cannot run; python -m pipeline.parsing.detectron2.install --upstream "
                    f"compiles it"
                )
